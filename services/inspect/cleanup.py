"""How does a task become again what it was before anything was processed?"""

from __future__ import annotations

from collections.abc import Set

from skyrelay.parameters.findings import forget
from skyrelay.products import FRINGE_MODEL, IMAGE, IMAGE_ORIGINAL
from skyrelay.stage.context import StageContext
from skyrelay.store import files

#: What is left of the files of a task.
_KEPT = frozenset({IMAGE, IMAGE_ORIGINAL, FRINGE_MODEL})


def run(context: StageContext) -> None:
    """Remove all files but the image, and all that the stages have found out.

    What the user has set in the configuration stays: who starts a cleanup together with other
    steps means it for them.
    """
    remove_all_but(context, _KEPT)
    forget(context.config)


def remove_all_but(context: StageContext, kept: Set[str]) -> None:
    """Remove all files and folders of the task but those of these names, and say how many."""
    stage = context.stage
    own = {stage.log_name, stage.results_name}
    removed = 0
    for path in sorted(context.folder.iterdir()):
        # Hidden files are no products, but the records of who works here.
        if path.name.startswith(".") or path.name in kept | own:
            continue
        files.remove(path)
        context.log(f"Removed {path.name}")
        removed += 1
    context.measure("n_removed", removed, doc="Files and folders that were removed.")
