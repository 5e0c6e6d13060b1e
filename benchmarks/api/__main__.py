"""`make bench-api`: requests a second and their 95th percentile, on gunicorn and PostgreSQL.

The real web server, two processes as by default, with 100,000 tasks and without a broker. All of
it, the database and who asks, share the machine.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
from astropy.io import fits
from rich.console import Console
from rich.table import Table

from benchmarks.api.crowd import ask_beside
from benchmarks.api.filling import fill
from benchmarks.api.load import CONNECTIONS, Answered, Question, ask
from benchmarks.console import as_interrupt, say
from skyrelay.products import IMAGE
from tests.support.gateway import opened
from tests.support.postgres import cluster
from tests.support.servers import installation

#: Nobody listens there: what is measured needs no broker.
_NO_BROKER = "amqp://guest:guest@127.0.0.1:1/%2F"
_UPLOAD = 8 * 1024 * 1024
_PAGE = 50
#: A task of observer0, see filling.py, and the pixels of one side of its image.
_WITH_IMAGE, _SIDE = 1, 4096
#: How it is looked at, each time another way: percent below white, and the digits after the point.
_VIEW, _QMAX = (
    f"/api/tasks/{_WITH_IMAGE}/preview/{IMAGE}?stretch=asinh&qmax=99.NUMBER",
    (1, 99999, 1),
)
_PREVIEWS = Question("preview of 4096 x 4096, eight at once", _VIEW, "observer0", _QMAX)
#: One client that asks for a state again and again, while those look at pictures.
_POLL = Question(
    "state, one client beside the eight",
    f"/api/tasks/{_WITH_IMAGE}/state/",
    "observer0",
    connections=1,
)
#: What STDWeb reaches with two workers and eight connections, on another machine, in requests/s.
_STDWEB = {
    "state": "165",
    "list, any page": "2",
    "list of an observer, any page": "2",
}


@click.command()
@click.option("--tasks", default=100_000, show_default=True)
@click.option("--seconds", default=5, show_default=True, help="For each kind of request.")
@click.option("--json", "as_json", is_flag=True, help="The figures for scripts.")
@click.option("--only", default="", help="Kinds of requests with this in their name.")
def benchmark(tasks: int, seconds: int, as_json: bool, only: str) -> None:
    """Measure how often, and how soon, the API answers."""
    signal.signal(signal.SIGTERM, as_interrupt)
    with tempfile.TemporaryDirectory(prefix="skyrelay-bench-") as scratch:
        folder = Path(scratch)
        with _server(folder, tasks) as (url, group, keys):
            answered = []
            for question in _questions(tasks, _form(folder)):
                if only in question.name:
                    say(question.name)
                    ask(url, keys[question.user], question, 1, folder)  # Warm.
                    answered.append(ask(url, keys[question.user], question, seconds, folder))
            state, crowd = _POLL, _PREVIEWS
            if only in state.name:
                say(state.name)
                key = keys[state.user]
                answered.append(ask_beside(url, key, state, crowd, seconds, folder, group))
    if as_json:
        print(json.dumps([asdict(each) for each in answered], indent=2))
    else:
        _show(tasks, answered)
    if any(each.failed for each in answered):
        sys.exit("Some requests failed.")


@contextmanager
def _server(folder: Path, tasks: int) -> Iterator[tuple[str, int, dict[str, str]]]:
    """A web server with so many tasks; its address, process group, and keys of two users."""
    with cluster() as postgres:
        database = postgres.new_database()
        with opened(folder, database) as gateway:
            say(f"Writing {tasks} tasks")
            keys = fill(gateway, tasks)
            _write_image(gateway.store.create(_WITH_IMAGE) / IMAGE)
        settings = {"skyrelay_web_workers": 2, "skyrelay_log_level": "WARNING"}
        with installation(folder, database, _NO_BROKER, **settings) as made:
            server, url = made.web()
            yield url, server.pid, keys


def _questions(tasks: int, form: Path) -> list[Question]:
    pages = (0, tasks - _PAGE, _PAGE)
    page = f"limit={_PAGE}&offset=NUMBER"
    own = (1, tasks - 39, 40)  # Of observer0: see filling.py.
    return [
        Question("state", "/api/tasks/NUMBER/state/", "observer0", own, floor=1000),
        Question("task", "/api/tasks/NUMBER/", "observer0", own),
        Question("list, first page", f"/api/tasks/?limit={_PAGE}", "chief", floor=200),
        Question("list, any page", f"/api/tasks/?{page}", "chief", pages, floor=200),
        Question(
            "list of an observer, any page",
            f"/api/tasks/?{page}",
            "observer0",
            (0, tasks // 2 - _PAGE, _PAGE),
            floor=200,
        ),
        Question(
            "list of one state of an observer, any page",
            f"/api/tasks/?state=photometry_done&{page}",
            "observer0",
            (0, tasks // 8 - _PAGE, _PAGE),
            floor=200,
        ),
        Question("search of a field", f"/api/tasks/?query=WORD&limit={_PAGE}", "chief", floor=200),
        Question(
            "search of two words that all have, any page",
            f"/api/tasks/?query=ztf+field&{page}",
            "chief",
            pages,
            floor=200,
        ),
        Question(
            "search of an observer's field",
            f"/api/tasks/?query=WORD+observer&limit={_PAGE}",
            "observer0",
            floor=200,
        ),
        Question("preview of 4096 x 4096", _VIEW, "observer0", _QMAX, floor=2, connections=1),
        _PREVIEWS,
        Question("upload of 8 MiB", "/api/tasks/", "observer0", method="POST", body=form),
    ]


def _write_image(path: Path) -> None:
    pixels = np.random.default_rng(1).normal(1000, 30, (_SIDE, _SIDE)).astype(np.float32)
    fits.writeto(path, pixels)


def _form(folder: Path) -> Path:
    path = folder / "form"
    head = '--boundary\r\nContent-Disposition: form-data; name="file"; filename="a.fits"\r\n\r\n'
    path.write_bytes(head.encode() + bytes(_UPLOAD) + b"\r\n--boundary--\r\n")
    return path


def _show(tasks: int, answered: list[Answered]) -> None:
    table = Table(title=f"{tasks} tasks, {CONNECTIONS} connections, 2 web processes, PostgreSQL")
    for heading in ("", "requests/s", "95 % within, ms", "to reach", "STDWeb elsewhere"):
        table.add_column(heading, justify="right" if heading else "left")
    for each in answered:
        reach = f"{each.floor:.0f}" if each.floor else ""
        rate, p95 = f"{each.rate:.0f}", f"{each.p95:.1f}"
        table.add_row(each.name, rate, p95, reach, _STDWEB.get(each.name, ""))
    console = Console(highlight=False)
    console.print(table)
    for each in answered:
        if each.memory:
            console.print(f"{each.name}: the server has {each.memory:.0f} MiB meanwhile.")


if __name__ == "__main__":
    benchmark()
