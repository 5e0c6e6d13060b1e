"""A stage that does what ``trial`` in its configuration tells it: sleep, fail, die, ..."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from skyrelay.errors import Permanent, Retriable
from skyrelay.stage.answers import Over
from skyrelay.stage.context import StageContext

#: A child that does not listen to SIGTERM, with a child of its own.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["sleep", "600"])
time.sleep(600)
"""


#: In the environment of whatever the science of a run has started: the run.
RUN_VARIABLE = "TRIAL_RUN"

#: Folder of the files that name the try which wrote them, among the products.
STAMPS = "stamps"

#: What a stage that eats memory takes at a time.
MOUTHFUL = 16 * 1024**2

#: In the environment of a replica: a file; while there is one, no further worker becomes warm.
COLD_VARIABLE = "TRIAL_COLD"

while os.path.exists(os.environ.get(COLD_VARIABLE, "")):
    time.sleep(0.05)


def run(context: StageContext) -> None:
    """Do as told; every beginning and end leaves a line in the file ``trace``."""
    order: dict[str, Any] = context.config.get("trial", {})
    trace = Path(order["trace"]) if "trace" in order else None
    run, attempt = context.folder.parent.parts[-2:]
    with _seen_if_beside_another(trace, attempt):
        _leave(trace, "begun", attempt)
        context.log("The trial begins")
        print("noise on the standard output")
        _start_children(order, {**os.environ, RUN_VARIABLE: run}, trace)
        if order.get("stamps"):
            _stamp(context, run, attempt, "first")
        context.path("product.txt").write_text(order.get("product", "product"))
        context.progress(0.5, "sleeping")
        time.sleep(order.get("seconds", 0.0))
        if "program" in order:
            os.system(order["program"])
        _act(context, order, trace)
        context.path("second.txt").write_text("second")
        if order.get("stamps"):
            _stamp(context, run, attempt, "second")
        context.measure("answer", 42, unit="mag")
        context.config["trial_done"] = True
        if "degraded" in order:
            context.degrade(order["degraded"])
        _leave(trace, "ended", attempt)


def lock_of(trace: Path) -> Path:
    """The file that the science with this trace holds locked for as long as it lives."""
    return trace.with_suffix(".lock")


@contextmanager
def _seen_if_beside_another(trace: Path | None, attempt: str) -> Iterator[None]:
    """Leave a line if the science of the same run lives in another process at the same time.

    The kernel frees the lock when its holder dies; what the science starts does not inherit it.
    """
    if trace is None:
        yield
        return
    with lock_of(trace).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _leave(trace, "beside", attempt)
        yield


def _start_children(order: dict[str, Any], marked: dict[str, str], trace: Path | None) -> None:
    if order.get("children"):
        subprocess.Popen(["sleep", "600"], env=marked)
        subprocess.Popen(["sleep", "601"], env=marked, process_group=0)
        if order["children"] != "obedient":
            subprocess.Popen([sys.executable, "-c", STUBBORN], env=marked)
    if order.get("detached"):
        marked = {**marked, "TRIAL_TRACE": str(trace)}
        subprocess.Popen(["sleep", "602"], start_new_session=True, env=marked)
        subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True, env=marked)
        # A daemon: nobody that the stage knows is its parent.
        subprocess.run(["setsid", "--fork", "sleep", "603"], env=marked, check=True)


def _stamp(context: StageContext, run: str, attempt: str, half: str) -> None:
    """Write half of a product that says which try of which attempt it is of."""
    folder = context.path(STAMPS)
    index = attempt.partition("-")[0]
    if index == "0" and half == "first":
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    (folder / f"{index}.{half}").write_text(f"{run} {attempt} {os.getpid()}")


def _act(context: StageContext, order: dict[str, Any], trace: Path | None) -> None:
    match order.get("act"):
        case "permanent":
            raise Permanent("The image is broken.")
        case "retriable":
            raise Retriable("The catalogue does not answer.")
        case "retriable once" if trace and trace.read_text().count("begun") == 1:
            raise Retriable("The catalogue does not answer.")
        case "bug":
            raise ZeroDivisionError("division by zero")
        case "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "full disk":
            raise OSError(errno.ENOSPC, "No space left on device")
        case "kill the replica":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        case "unwritable":
            context.config["thing"] = object()
        case "answer for another":
            channel = int(sys.argv[sys.argv.index("--channel") + 1])
            os.write(channel, Over(attempt=(uuid4(), 0, 0, 1)).to_line())
            time.sleep(60)
        case "compute":
            while True:
                sum(range(10_000))
        case "extract":
            _extract(context, Path(order["image"]))
        case "eat memory":
            _eat(order.get("limit"), order.get("cgroup"))


def _extract(context: StageContext, image: Path) -> None:
    """Have SExtractor work on an image for as long as it takes."""
    wanted = context.temporary / "wanted.param"
    wanted.write_text("NUMBER\nXWIN_IMAGE\nYWIN_IMAGE\nFLUX_AUTO\nFLUX_RADIUS\n")
    command = ["source-extractor", str(image), "-c", "/usr/share/source-extractor/default.sex"]
    options = {
        "PARAMETERS_NAME": wanted,
        "FILTER": "N",
        "CATALOG_NAME": context.path("second.txt"),
        "DETECT_THRESH": 0.8,
        "ANALYSIS_THRESH": 0.8,
    }
    for name, value in options.items():
        command += [f"-{name}", str(value)]
    marked = {**os.environ, RUN_VARIABLE: context.folder.parent.parts[-2]}
    subprocess.run(command, check=True, cwd=context.temporary, env=marked)


def _eat(limit: int | None, cgroup: str | None) -> None:
    """Take all memory there is: ``limit`` bytes of addresses, or what a control group allows."""
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if cgroup is not None:
        Path(cgroup, "cgroup.procs").write_text(str(os.getpid()))
    eaten = []
    while True:
        eaten.append(b"x" * MOUTHFUL)


def _leave(trace: Path | None, word: str, attempt: str) -> None:
    if trace is not None:
        with trace.open("a") as file:
            file.write(f"{word} {os.getpid()} {time.time():.6f} {attempt}\n")
