"""What does a user do to have an observation processed, and to read what came of it?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from astropy.table import Table

from demo.material import Material
from demo.results import Results, StageTime
from skyrelay.client import Client, NotFound, TaskState
from skyrelay.products import CANDIDATES, CANDIDATES_SIMPLE, CUSTOM_TEMPLATE
from skyrelay.stages import SIMPLE_TRANSIENTS, SUBTRACTION, stage_of

#: Where each search leaves its candidates.
_CANDIDATES = {SIMPLE_TRANSIENTS.step: CANDIDATES_SIMPLE, SUBTRACTION.step: CANDIDATES}


def process(client: Client, material: Material, on_progress: Callable[[TaskState], None]) -> int:
    """Create a task of the material, have it processed, and wait for the end; the task's id."""
    task = client.create_task(material.image, title=material.title, config=material.full_config())
    if material.catalogue is not None:
        client.upload(task.id, material.catalogue)
    if material.template is not None:
        client.upload(task.id, material.template, CUSTOM_TEMPLATE)
    client.process(task.id, material.steps)
    client.wait(task.id, on_progress=on_progress)
    return task.id


def read_results(client: Client, task: int, steps: list[str], folder: Path) -> Results:
    """Read back what the task's stages have measured and found, by way of ``folder``."""
    state, run = client.state(task), client.runs(task)[0]
    names = {entry.name for entry in client.files(task)}
    values: dict[str, dict[str, Any]] = {}
    candidates: dict[str, Table] = {}
    for step in steps:
        results = stage_of(step).results_name
        if results in names:
            values[step] = json.loads(client.read(task, results))["values"]
        if _CANDIDATES.get(step) in names:
            candidates[step] = _read_table(client, task, _CANDIDATES[step], folder)
    return Results(
        task=task,
        state=state.state,
        config=client.task(task).config,
        values=values,
        candidates=candidates,
        stages=[
            StageTime(stage.step, stage.state, stage.seconds or 0.0, tuple(stage.reasons))
            for stage in run.stages
        ],
        finished=run.state in ("done", "degraded"),
        products=f"{client.base_url}/api/tasks/{task}/files/",
        reasons=run.reasons,
    )


def _read_table(client: Client, task: int, name: str, folder: Path) -> Table:
    try:
        path = client.download(task, name, folder / name)
    except NotFound:
        return Table(names=("ra", "dec"))
    return Table.read(path, format="votable")
