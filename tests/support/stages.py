"""How does a test run one stage in a folder of its own?"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from skyrelay.settings import Settings
from skyrelay.stage.execute import StageResult, Workplace, execute
from skyrelay.stages import stage_of


def run_stage(
    step: str, folder: Path, config: dict[str, Any], settings: Settings | None = None
) -> StageResult:
    """Run the stage ``step`` on the files in ``folder``; scratch lies beside the folder."""
    temporary = folder.parent / f"{folder.name}.scratch"
    temporary.mkdir(exist_ok=True)
    settings = settings or Settings(_env_file=None, data_path=folder.parent / "data")
    with warnings.catch_warnings():
        # As in a worker: what the libraries warn of is no error.
        warnings.simplefilter("ignore")
        return execute(Workplace(stage_of(step), folder, config, settings, temporary))
