"""How much memory may each container take? What was measured says so.

`make measure-resources` writes measured.json; of it `python -m deploy.kubernetes.resources` (and
`make docs`) makes the patches of all overlays and the page that shows and explains them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from skyrelay.settings import Settings
from skyrelay.stages import SERVICES

FOLDER = Path(__file__).parent
MEASURED = FOLDER / "measured.json"
PAGE = FOLDER.parents[1] / "docs/operations/resources.md"

#: Sides of images, px: those that a request holds, those that are measured as the largest, and the
#: largest for which the large lane is made.
USUAL, LARGEST, HUGE = 2048, 4096, 8192
#: MiB from which an image is large: 4k x 4k pixels of 4 bytes.
LARGE_IMAGE = LARGEST**2 * 4 // 2**20
#: A way to subtract that nobody gets who does not ask for it.
UNUSUAL = "one tile"
#: A file of 2 bytes a pixel has twice as many of them, and crowded fields need more than ours.
ROOM = 2
#: Part of its memory at which RabbitMQ stops whoever publishes (the default of its version 4).
WATERMARK = 0.6
#: Part of its limit that its operator tells RabbitMQ of; the rest is left to Erlang.
TOLD = 0.8
#: MiB of messages that RabbitMQ keeps in memory before quorum queues write them out (its default);
#: its documentation asks for three times that.
LOG = 512
#: MiB in which PostgreSQL and the system may keep what is asked for often; measured was a small
#: database.
CACHE = 1024
#: Connections that a replica has to the broker, and replicas that there may be in production.
CONNECTIONS, REPLICAS = 3, 120

_HEAD = "# Made of measured.json by deploy/kubernetes/resources.py, which says how: do not edit.\n"

Resources = dict[str, dict[str, str]]
Measured = dict[str, dict[str, dict[str, float]]]


def measured() -> Measured:
    """MiB and seconds by case (a size of images, or a backlog) and container."""
    found: Measured = json.loads(MEASURED.read_text())
    return found


class Needs:
    """What was measured, looked at in the ways in which it is needed."""

    def __init__(self, found: Measured) -> None:
        self._found = found

    def stage(self, service: str, size: int) -> float:
        """MiB of a stage service for an image of this size.

        What was not measured is reckoned on from the two largest sizes that were, by the number of
        pixels.
        """
        peaks = {
            int(case): self._peak(service, found)
            for case, found in self._found.items()
            if case.isdecimal()
        }
        known = {side: peak for side, peak in sorted(peaks.items()) if peak}
        if size in known:
            return known[size]
        (small, least), (large, most) = list(known.items())[-2:]
        return most + (most - least) * (size**2 - large**2) / (large**2 - small**2)

    def _peak(self, service: str, found: Mapping[str, Mapping[str, float]]) -> float:
        """The worst of its usual ways to work; 0 if it was not measured."""
        ways = {name: name.partition(", ") for name in found}
        return max(
            (
                found[name]["memory"]
                for name, (container, _, way) in ways.items()
                if container == service and way != UNUSUAL
            ),
            default=0.0,
        )

    def always(self, container: str) -> float:
        """MiB of a container that all images share, at its worst."""
        return max(case[container]["memory"] for case in self._found.values() if container in case)


def resources(found: Measured) -> dict[str, dict[str, Resources]]:
    """Requests and limits by file and container."""
    needs = Needs(found)
    settings = Settings(_env_file=None)
    web, events = needs.always("gateway-web"), needs.always("gateway-events")
    pictures = settings.skyrelay_web_workers * settings.skyrelay_renderers
    broker, database = needs.always("rabbitmq"), needs.always("postgresql")
    each = needs.always("rabbitmq, 100 connections") / 100
    crowd = broker + each * CONNECTIONS * REPLICAS
    crowded = 3 * LOG + ROOM * crowd / (WATERMARK * TOLD)
    return {
        "base": {
            "gateway-web": _memory(web, web + pictures * settings.skyrelay_renderer_memory),
            "gateway-events": _memory(events, ROOM * events),
            **{
                service: _memory(needs.stage(service, USUAL), ROOM * needs.stage(service, LARGEST))
                for service in SERVICES
            },
        },
        "components/large-lane": {
            service: _memory(needs.stage(service, LARGEST), needs.stage(service, HUGE))
            for service in SERVICES
        },
        "overlays/small": {
            "rabbitmq": _memory(ROOM * broker, LOG + ROOM * broker / WATERMARK),
            "postgresql": _memory(ROOM * database, ROOM * database + CACHE),
        },
        "overlays/production": {
            # RabbitMQ reckons with its limit: it must be there.
            "rabbitmq": _memory(crowded, crowded),
            "postgresql": _memory(ROOM * database + CACHE, ROOM * database + 2 * CACHE),
        },
    }


def _memory(request: float, limit: float) -> Resources:
    """In steps that a person can read."""
    return {"requests": {"memory": _round(request)}, "limits": {"memory": _round(limit)}}


def _round(mebibytes: float) -> str:
    step = 64 if mebibytes < 1024 else 256 if mebibytes < 4096 else 1024
    rounded = math.ceil(mebibytes / step) * step
    return f"{rounded // 1024}Gi" if rounded % 1024 == 0 else f"{rounded}Mi"


def patch(place: str, container: str, found: Resources) -> dict[str, Any]:
    """What gives a container of this place its requests and limits."""
    if (place, container) in _OPERATED:
        kind, version = _OPERATED[place, container]
        return _patch(version, kind, container, {"resources": found})
    if place == "overlays/small":
        return _patch("apps/v1", "StatefulSet", container, _pod(container, found))
    if container.startswith("gateway-"):
        return _patch("apps/v1", "Deployment", container, _pod("gateway", found))
    lane = "-large" if place == "components/large-lane" else ""
    return _patch("apps/v1", "Deployment", f"stage-{container}{lane}", _pod("stage", found))


#: What operators make: kind and version of the resource that says so.
_OPERATED = {
    ("overlays/production", "rabbitmq"): ("RabbitmqCluster", "rabbitmq.com/v1beta1"),
    ("overlays/production", "postgresql"): ("Cluster", "postgresql.cnpg.io/v1"),
}


def _patch(version: str, kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _pod(container: str, found: Resources) -> dict[str, Any]:
    return {"template": {"spec": {"containers": [{"name": container, "resources": found}]}}}


def files() -> dict[Path, str]:
    """All that is made here, and where it belongs."""
    found = measured()
    wanted = resources(found)
    made = {
        FOLDER / place / "resources.yaml": _HEAD
        + yaml.safe_dump_all(
            [patch(place, container, each) for container, each in containers.items()],
            sort_keys=False,
        )
        for place, containers in wanted.items()
    }
    return {**made, PAGE: page(found, wanted)}


def page(found: Measured, wanted: dict[str, dict[str, Resources]]) -> str:
    """The page for people."""
    sizes = [case for case in found if case.isdecimal()]
    backlog = next(case for case in found if not case.isdecimal())
    return _PAGE.format(
        measured="\n".join(_table([*sizes, backlog], found)),
        wanted="\n".join(_wanted(wanted)),
        large=LARGE_IMAGE,
        huge=HUGE // 1024,
        room=ROOM,
        log=LOG,
        cache=CACHE,
        watermark=f"{WATERMARK:.0%}",
        operated=f"{WATERMARK * TOLD:.0%}",
        connections=CONNECTIONS,
        replicas=REPLICAS,
    )


def _table(cases: list[str], found: Measured) -> Iterator[str]:
    titles = [
        f"{int(case) // 1024}k x {int(case) // 1024}k" if case.isdecimal() else case
        for case in cases
    ]
    yield f"| container | {' | '.join(f'{title}, MiB | CPU s' for title in titles)} |"
    yield "|---" * (1 + 2 * len(titles)) + "|"
    names = list(dict.fromkeys(name for case in cases for name in found[case]))
    for name in names:
        cells = [
            f"{found[case][name]['memory']:.0f} | {found[case][name]['cpu']:.0f}"
            if name in found[case]
            else " | "
            for case in cases
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def _title(case: str) -> str:
    if not case.isdecimal():
        return case
    side = f"{int(case) // 1024}k"
    return f"{side} x {side}"


def _wanted(wanted: dict[str, dict[str, Resources]]) -> Iterator[str]:
    yield "| where | container | request | limit |"
    yield "|---|---|---|---|"
    for place, containers in wanted.items():
        for container, each in containers.items():
            request, limit = each["requests"]["memory"], each["limits"]["memory"]
            yield f"| `{place}` | {container} | {request} | {limit} |"


_PAGE = """\
# How much memory each container takes

Made of `deploy/kubernetes/measured.json` by `make docs`; `make measure-resources` measures anew and
makes the manifests of it, too.

Peak memory of a container's processes with all that they start (proportional set size, looked at
every half a second), and processor time, while an observation of the synthetic sky passed all
services: one slot for each, the demo's density of stars. Five images are stacked. Two previews were
asked for. "One tile" is a subtraction that somebody has asked to do in one piece (`sub_size`). The
last columns are of a backlog of stages that do nothing, drained by four replicas, with PostgreSQL;
"100 connections" is what they add, each with a queue. Subtraction and stacking of 4k x 4k were
measured beside other work, which makes their processor time longer, and not their memory.

{measured}

## Requests and limits

{wanted}

- A stage requests what 2k x 2k pixels take. Its limit is {room} times what 4k x 4k take: crowded
  fields need more, and a file may have two bytes a pixel. What the table does not have is reckoned
  on from the two sizes before, by the number of pixels.
- Files of {large} MiB and more go to the large lane. It requests what 4k x 4k take; its limit is
  what {huge}k x {huge}k would, reckoned on in that way.
- `gateway-web` also has to hold its makers of pictures at their own limit
  (`SKYRELAY_RENDERER_MEMORY`).
- RabbitMQ stops publishers at {watermark} of its limit, in production at {operated}, because its
  operator tells it of four fifths only: there is room for twice what was measured, in production
  with {replicas} replicas of {connections} connections, and for the log of the quorum queues
  ({log} MiB; three times that in production, as RabbitMQ's documentation asks).
- PostgreSQL has twice what was measured, and {cache} MiB of what is asked for often.
- The small overlay requests 384 MiB for each stage instead, hardly more than an idle one has, so
  that all fit on one node; the limits are the same.

A stage requests one core, which it keeps busy; there is no limit, which would only make it wait.
Measure yours with `container_memory_working_set_bytes`.
"""


if __name__ == "__main__":
    for path, content in files().items():
        path.write_text(content)
