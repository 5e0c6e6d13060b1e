"""What does an image of a given size take of each service, of broker and database?"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from benchmarks.orchestration.relay.stages import STAGES as RELAY
from benchmarks.resources.peaks import Need, Peaks
from demo.material import Material, synthetic
from deploy.kubernetes.resources import UNUSUAL
from skyrelay.client import Client
from skyrelay.products import CUSTOM_TEMPLATE
from skyrelay.stack.stack import Stack
from skyrelay.stages import INSPECT, PHOTOMETRY, SIMPLE_TRANSIENTS, STACK, SUBTRACTION
from skyrelay.synthetic import FieldSpec

#: Images that are stacked.
FRAMES = 5
#: Pixels from one of them to the next, in x and y.
_STEP = (7, -4)

#: Needs by what they are of: a container's name, or that and what was particular about it.
Needs = dict[str, Need]


def needs_of(
    folder: Path,
    size: int,
    database_url: str,
    database: int,
    say: Callable[[str], None],
    note: Callable[[Needs], None],
) -> None:
    """Send a synthetic observation of ``size`` x ``size`` pixels through all services.

    ``database``: process id of the server at ``database_url``; ``note`` takes all found so far.
    """
    say(f"Observing {size} x {size} pixels of the synthetic sky.")
    material = synthetic(folder, FieldSpec(seed=1, size=size), {})
    found: Needs = {}
    with Stack(
        folder / "stack",
        replicas={stage.service: 0 for stage in RELAY},
        environment={"DATABASE_URL": database_url},
        say=say,
    ) as stack:
        names = _write_frames(material.image, stack.folder / "data")
        containers = {_container(role): pid for role, pid in stack.processes.items()}
        shared = {name: containers[name] for name in ("gateway-web", "gateway-events", "rabbitmq")}
        with (
            Client(stack.base_url, stack.admin_token) as client,
            Peaks(shared | {"postgresql": database}) as all_the_time,
        ):
            task = _upload(client, material)

            def run(service: str, step: str, way: str = "", **config: Any) -> None:
                name = f"{service}, {way}" if way else service
                say(f"{name}, {size} x {size} pixels")
                with Peaks({service: containers[service]}) as peaks:
                    _process(client, task, [step], config)
                found[name] = peaks.of(service)
                note(found)

            for stage in (INSPECT, PHOTOMETRY, SIMPLE_TRANSIENTS):
                run(stage.service, stage.step)
            subtraction = (SUBTRACTION.service, SUBTRACTION.step)
            run(*subtraction, "in parts", sub_split=1)
            client.preview(task)
            client.preview(task, zoom=4)
            observed, task = task, client.create_task(original_name="stack.fits").id
            run(STACK.service, STACK.step, stack_filenames=names)
            task = observed
            run(*subtraction, "one worker", sub_split=0)
            run(*subtraction, UNUSUAL, sub_split=0, sub_size=size)
        found |= {name: all_the_time.of(name) for name in (*shared, "postgresql")}
        note(found)
    shutil.rmtree(folder)


def _container(role: str) -> str:
    """The container in a cluster that does what this process of a stack does."""
    others = {"web": "gateway-web", "events": "gateway-events", "broker": "rabbitmq"}
    return others.get(role, role.removesuffix("-1"))


def _upload(client: Client, material: Material) -> int:
    assert material.catalogue is not None and material.template is not None
    task = client.create_task(material.image, config=material.full_config()).id
    client.upload(task, material.catalogue)
    client.upload(task, material.template, CUSTOM_TEMPLATE)
    return task


def _process(client: Client, task: int, steps: Sequence[str], config: dict[str, Any]) -> None:
    client.process(task, steps, config)
    state = client.wait(task)
    if state.failed:
        sys.exit(f"{state.state}: {state.error}")


def _write_frames(image: Path, data: Path) -> list[str]:
    """Leave the image in the data folder, several times, each at another place on the sky."""
    with fits.open(image) as hdus:
        pixels, header = hdus[0].data, hdus[0].header
        names = []
        for number in range(FRAMES):
            shift = [number * step for step in _STEP]
            moved = header.copy()
            moved["CRPIX1"] += shift[0]
            moved["CRPIX2"] += shift[1]
            names.append(f"frame{number}.fits")
            fits.writeto(data / names[-1], np.roll(pixels, shift[::-1], (0, 1)), moved)
    return names
