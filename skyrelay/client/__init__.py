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
    AuditEntry,
    DeadLetter,
    Delivery,
    FileEntry,
    Group,
    Intake,
    LightCurvePoint,
    Preset,
    QueueEntry,
    Results,
    Run,
    StageReport,
    Started,
    Task,
    TaskActed,
    TaskState,
    Token,
    User,
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
    "AuditEntry",
    "Client",
    "ClientError",
    "Conflict",
    "DeadLetter",
    "Delivery",
    "FileEntry",
    "Forbidden",
    "Group",
    "Intake",
    "LightCurvePoint",
    "NotAuthenticated",
    "NotFound",
    "Preset",
    "QueueEntry",
    "RequestRefused",
    "Results",
    "Run",
    "ServerAway",
    "StageReport",
    "Started",
    "StillRunning",
    "Task",
    "TaskActed",
    "TaskState",
    "Token",
    "User",
    "Webhook",
]
