"""How does a Python program use Skyrelay?

::

    client = Client.login("http://127.0.0.1:8000", "me", "secret")
    task = client.create_task("image.fits", title="M51", config={"target": "SN 2011dh"})
    client.process(task.id, ["inspect", "photometry"])
    state = client.wait(task.id, on_progress=print)
    client.download(task.id, "target.vot", "target.vot")
"""

from skyrelay.client.answers import (
    Attempt,
    FileEntry,
    Intake,
    LightCurvePoint,
    Results,
    Run,
    StageReport,
    Started,
    Task,
    TaskState,
    Webhook,
)
from skyrelay.client.client import Client
from skyrelay.client.errors import (
    ClientError,
    Conflict,
    Forbidden,
    NotAuthenticated,
    NotFound,
    RequestRefused,
    ServerAway,
    StillRunning,
)

__all__ = [
    "Attempt",
    "Client",
    "ClientError",
    "Conflict",
    "FileEntry",
    "Forbidden",
    "Intake",
    "LightCurvePoint",
    "NotAuthenticated",
    "NotFound",
    "RequestRefused",
    "Results",
    "Run",
    "ServerAway",
    "StageReport",
    "Started",
    "StillRunning",
    "Task",
    "TaskState",
    "Webhook",
]
