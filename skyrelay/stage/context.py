"""What does the science of a stage get, and what may it say?

A stage is a module with ``run(context: StageContext) -> None``. It reads and writes files in
``context.folder``, reads its parameters, writes its log, tells its progress and its measured
values, and raises ``Permanent`` or ``Retriable``. It knows no broker, no database and no task.

A stage that can be spread over several replicas has four functions more:

``parts(context) -> int``
    Into how many parts the work is worth splitting; 0 or 1: ``run`` does all of it.
``prepare(context)``
    Does what comes before, and leaves what all parts need in ``context.shared``.
``run_part(context, part)``
    Does part 1, 2, ... and leaves its result in ``context.shared``.
``join(context, pieces)``
    Puts the pieces together; some of them may have failed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from skyrelay.messages import Outcome
from skyrelay.parameters import default_of
from skyrelay.records import SkyField, Value
from skyrelay.settings import Settings
from skyrelay.stages import Stage
from skyrelay.store.attempt import RESERVED_PREFIX


class StageLog:
    """The stage's log: a text file in the task's folder, one line per call, readable as it grows.

    Call it like ``print``. With ``timing`` every line begins with the seconds since the start.
    Libraries name files by their whole path; of folders that are hidden it shows only ``…``.
    """

    def __init__(self, path: Path, *, timing: bool = False) -> None:
        self._file = path.open("w", encoding="utf-8", buffering=1)
        self._start = time.monotonic() if timing else None
        self._folders: tuple[Path, ...] = ()

    def hide(self, *folders: Path) -> None:
        """Write ``…`` instead of the path of these folders from now on."""
        self._folders += folders
        self.__dict__.pop("_hidden", None)

    @cached_property
    def _hidden(self) -> list[str]:
        names: set[str] = set()
        for folder in self._folders:
            names |= {str(folder), str(folder.absolute()), str(folder.resolve())}
        # A folder within another goes first, lest it be shortened only in part.
        return sorted(names - {"/"}, key=len, reverse=True)

    def __call__(self, *words: object, **_: object) -> None:
        text = " ".join(str(word) for word in words)
        if "/" in text:
            for folder in self._hidden:
                text = text.replace(folder, "…")
        prefix = "" if self._start is None else f"[{time.monotonic() - self._start:8.2f}] "
        self._file.write(f"{prefix}{text}\n")

    def copy(self, text: str) -> None:
        """Take over what another log says."""
        self._file.write(text)

    def close(self) -> None:
        """Write the rest and close the file."""
        self._file.close()


#: Folder for what the parts of a stage leave to each other; never published.
_SHARED = f"{RESERVED_PREFIX}-shared"


@dataclasses.dataclass(frozen=True)
class Piece:
    """What a part of a stage has left, and how it ended: ``reasons`` says why, if not well."""

    part: int
    folder: Path
    outcome: Outcome
    reasons: tuple[str, ...]

    @property
    def shared(self) -> Path:
        """What its science has left in ``context.shared``."""
        return self.folder / _SHARED

    def log_of(self, stage: Stage) -> str:
        """What the part has logged."""
        path = self.folder / stage.log_name
        return path.read_text(encoding="utf-8") if path.exists() else ""


@dataclasses.dataclass
class StageContext:
    """One attempt of one stage, as its science sees it.

    Attributes
    ----------
    folder : Path
        The task's files. The stage may replace and remove them, but must not change a file in
        place: its inode is shared with the version that users see until the stage is done.
    config : dict
        The task's configuration. What the stage changes in it is kept, if it ends well.
    temporary : Path
        Scratch for external programs; removed after the attempt.
    log : StageLog
        The stage's log.
    field : SkyField or None
        Set by a stage that knows where the image lies.
    values : dict of Value
        Measured values so far; see `measure`.
    degraded : list of str
        What is missing from the result; see `degrade`.
    """

    stage: Stage
    folder: Path
    config: dict[str, Any]
    settings: Settings
    temporary: Path
    log: StageLog
    on_progress: Callable[[float, str], None] = lambda fraction, doing: None
    field: SkyField | None = None
    values: dict[str, Value] = dataclasses.field(default_factory=dict)
    degraded: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.log.hide(self.folder, self.temporary)

    @property
    def shared(self) -> Path:
        """Folder for what the parts of a split stage leave to each other."""
        return self.folder / _SHARED

    def path(self, name: str) -> Path:
        """Place of the file ``name`` in the task's folder."""
        return self.folder / name

    def parameter(self, name: str) -> Any:
        """Value of a parameter: from the configuration, else its default."""
        value = self.config.get(name)
        return default_of(name) if value is None else value

    def progress(self, fraction: float, doing: str) -> None:
        """Tell how far the stage is (0 to 1) and what it does now."""
        self.on_progress(fraction, doing)

    def measure(
        self,
        name: str,
        value: float | int | str | bool | None,
        *,
        error: float | None = None,
        unit: str = "",
        doc: str = "",
    ) -> None:
        """Keep a measured value for the stage's results."""
        self.values[name] = Value(value=value, error=error, unit=unit, doc=doc)

    def degrade(self, reason: str) -> None:
        """The stage goes on, but its result lacks something: say what, in a sentence."""
        self.log(f"Warning: {reason}")
        self.degraded.append(reason)
