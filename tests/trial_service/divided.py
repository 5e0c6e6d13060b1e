"""A stage that is done in parts: each writes its number, and they are joined to one list."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skyrelay.errors import Permanent, Retriable
from skyrelay.messages import Outcome
from skyrelay.stage.context import Piece, StageContext

PRODUCT = "joined.txt"


def parts(context: StageContext) -> int:
    return int(_order(context).get("parts", 0))


def run(context: StageContext) -> None:
    context.path(PRODUCT).write_text("whole")


def prepare(context: StageContext) -> None:
    _leave(context, "prepared")
    context.log("Prepared")
    (context.shared / "prepared").write_text("prepared")
    context.measure("parts", parts(context))


def run_part(context: StageContext, part: int) -> None:
    """Do as told for this part: ``{"acts": {"2": "permanent"}}``.

    With ``hold`` it waits until there is that file.
    """
    order = _order(context)
    _leave(context, f"begun {part}")
    context.log(f"Part {part} begins")
    assert (context.shared / "prepared").read_text() == "prepared"
    time.sleep(order.get("seconds", 0.0))
    while "hold" in order and not Path(order["hold"]).exists():
        time.sleep(0.05)
    match order.get("acts", {}).get(str(part)):
        case "permanent":
            raise Permanent("It cannot be done.")
        case "retriable once" if _times(context, f"begun {part}") == 1:
            raise Retriable("It could not be done.")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
    (context.shared / str(part)).write_text(str(part))
    _leave(context, f"ended {part}")


def join(context: StageContext, pieces: Sequence[Piece]) -> None:
    _leave(context, "joined")
    done = [piece for piece in pieces if piece.outcome is not Outcome.FAILED]
    for piece in pieces:
        if piece.outcome is Outcome.FAILED:
            context.degrade(f"Part {piece.part} is left out: {' '.join(piece.reasons)}")
    if not done:
        raise Permanent("No part could be done.")
    numbers = [(piece.shared / str(piece.part)).read_text() for piece in done]
    context.path(PRODUCT).write_text(" ".join(numbers))
    context.measure("joined", len(numbers))


def _order(context: StageContext) -> dict[str, Any]:
    order: dict[str, Any] = context.config.get("divided", {})
    return order


def _leave(context: StageContext, words: str) -> None:
    if trace := _order(context).get("trace"):
        with open(trace, "a") as file:
            file.write(f"{words} pid={os.getpid()} {time.time():.6f}\n")


def _times(context: StageContext, words: str) -> int:
    return Path(_order(context)["trace"]).read_text().count(f"{words} ")
