"""How does a test have an observation processed by a running Skyrelay?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skyrelay.client import Client, Run, TaskState
from skyrelay.products import CUSTOM_TEMPLATE

#: Everything that is needed is in the task; nothing is asked over the network.
OFFLINE: dict[str, Any] = {
    "cat_name": "local",
    "cat_file": "catalogue.vot",
    "template": "custom",
    "simple_vizier": False,
    "simple_skybot": False,
}

#: Seconds after which a run that has not ended hangs.
HANGS = 400.0


def make_task(client: Client, files: dict[str, Path], **config: Any) -> int:
    """A task of the files ``image`` and, if they are there, ``catalogue`` and ``template``."""
    task = client.create_task(files["image"], config=OFFLINE | config).id
    if "catalogue" in files:
        client.upload(task, files["catalogue"], OFFLINE["cat_file"])
    if "template" in files:
        client.upload(task, files["template"], CUSTOM_TEMPLATE)
    return task


def process(client: Client, task: int, *steps: str) -> tuple[TaskState, Run]:
    """Process the task to its end."""
    client.process(task, steps)
    state = client.wait(task, timeout=HANGS)
    return state, client.runs(task)[0]
