"""The science of a stage that does nothing."""

from __future__ import annotations

from skyrelay.stage.context import StageContext


def run(context: StageContext) -> None:
    """Do nothing: all the time it takes is the orchestration's."""
