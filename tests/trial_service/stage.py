"""A stage that does what ``trial`` in its configuration tells it: sleep, fail, die, ..."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
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


def run(context: StageContext) -> None:
    """Do as told; every beginning and end leaves a line in the file ``trace``."""
    order: dict[str, Any] = context.config.get("trial", {})
    trace = Path(order["trace"]) if "trace" in order else None
    _leave(trace, "begun")
    context.log("The trial begins")
    print("noise on the standard output")
    if order.get("children"):
        subprocess.Popen(["sleep", "600"])
        subprocess.Popen([sys.executable, "-c", STUBBORN])
        subprocess.Popen(["sleep", "601"], process_group=0)
    if order.get("detached"):
        marked = {**os.environ, "TRIAL_TRACE": str(trace)}
        subprocess.Popen(["sleep", "602"], start_new_session=True, env=marked)
        subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True, env=marked)
        # A daemon: nobody that the stage knows is its parent.
        subprocess.run(["setsid", "--fork", "sleep", "603"], env=marked, check=True)
    context.path("product.txt").write_text(order.get("product", "product"))
    context.progress(0.5, "sleeping")
    time.sleep(order.get("seconds", 0.0))
    _act(context, order, trace)
    context.path("second.txt").write_text("second")
    context.measure("answer", 42, unit="mag")
    context.config["trial_done"] = True
    if "degraded" in order:
        context.degrade(order["degraded"])
    _leave(trace, "ended")


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


def _leave(trace: Path | None, word: str) -> None:
    if trace is not None:
        with trace.open("a") as file:
            file.write(f"{word} {os.getpid()} {time.time():.6f}\n")
