"""Who may work on an attempt, where does it work, and how do its products appear?

The claim is a lock that the kernel frees when its holder dies: no clock, no lease, and never two
living workers. All attempts of a run lock one file, each another byte of it. The swap of the
task's link is the one moment at which an attempt becomes true; the record is part of what is
swapped in, so that products and record cannot disagree.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from skyrelay.messages import COUNT_BITS, RunStage
from skyrelay.records import AttemptRecord
from skyrelay.store import files
from skyrelay.store.presence import StoreMissing, check, is_gone

_log = logging.getLogger(__name__)

#: Files whose names begin so are the store's own, and not shown.
RESERVED_PREFIX = ".skyrelay"
#: Marks a run as cancelled, in the run's folder.
CANCELLED = "cancelled"

#: The record, in what was published with it.
RECORD_IN_TASK = f"{RESERVED_PREFIX}-attempt.json"
_RECORD = "record.json"
_CLAIMS = "claims.lock"
#: Why the next attempt counts, in the attempt's folder.
SUPERSEDED = "superseded"
_SCRATCH = "scratch"
#: What is left of an attempt that has ended; all else in its folder is temporary.
_LASTING = {_RECORD, SUPERSEDED}


class AttemptBusy(Exception):
    """A living worker holds the claim of this attempt."""


class ClaimLost(Exception):
    """Another worker has taken the claim of this attempt, or the next attempt counts instead."""


class RunOver(Exception):
    """The run was cancelled, or has ended and been cleared away."""


class RunUnknown(RunOver):
    """There is nothing of this run in the store: it ended long ago, or the store is another."""


@dataclass(frozen=True)
class Attempt:
    """One attempt of one stage, or of a part of a stage that was split, on disk.

    What is prepared for the parts, and what the parts make, is published as ``pieces`` of the run,
    in the same way as the products of a stage are published as the task's folder. With ``sync``
    the disk has taken whatever is published.
    """

    message: RunStage
    store_root: Path
    folder: Path
    pieces: Path
    link: Path
    next_version: Path
    trash: Path
    task_lock: Path
    sync: bool

    @property
    def record_key(self) -> str:
        """Path of the record, relative to the store."""
        return str((self.folder / _RECORD).relative_to(self.store_root))

    @property
    def scratch(self) -> Path:
        """The folder in which the attempt works, as long as it does."""
        return self.folder / _SCRATCH

    @property
    def temporary_folder(self) -> Path:
        """Where external programs leave what they need for a while."""
        return self.folder

    @property
    def prepared(self) -> Path:
        """The folder from which all parts of the stage begin."""
        return self.piece(0)

    def piece(self, part: int) -> Path:
        """The folder that a part of the stage has left, as soon as it has ended."""
        return self.pieces / str(part)

    def record_of_piece(self, part: int) -> AttemptRecord | None:
        """How a part of the stage has ended; None if it has left nothing."""
        path = self.piece(part) / RECORD_IN_TASK
        return AttemptRecord.model_validate_json(path.read_bytes()) if path.exists() else None

    def run_is_over(self) -> bool:
        """Whether the run was cancelled or cleared away, as far as that can be seen now.

        Work is not given up because the store is away for a while: a publication looks again.
        """
        try:
            return self._is_over()
        except OSError as error:
            _log.warning("cannot see whether the run was cancelled: %s", error)
            return False

    def _is_over(self) -> bool:
        run_folder = self.folder.parent
        return (run_folder / CANCELLED).exists() or is_gone(self.store_root, run_folder)

    def why_away(self) -> str | None:
        """Why nothing can be said of any run, if the store is away."""
        try:
            check(self.store_root)
        except OSError as error:
            return str(error)
        return None

    @contextmanager
    def claimed(self, *, to_clear: bool = False) -> Iterator[bool]:
        """Be the one living worker of this attempt; ``to_clear``: even if its run is over.

        The context says whether we are the first: then nothing of the attempt can be there.

        Raises
        ------
        AttemptBusy
            If another living process is.
        RunUnknown
            If nothing of the run is there.
        RunOver
            If the run was cancelled or has ended.
        StoreMissing
            If the store is away.
        """
        try:
            first = files.make_folder(self.folder)
            claims = self.folder.parent / _CLAIMS
            claim = os.open(claims, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError as error:
            if not is_gone(self.store_root, self.folder.parent):
                raise StoreMissing("the store of tasks was away a moment ago") from error
            raise RunUnknown from error
        try:
            if not files.lock_byte(claim, self._claim_number):
                raise AttemptBusy
            if not to_clear and self._is_over():
                raise RunOver
            yield first
        finally:
            os.close(claim)

    @property
    def _claim_number(self) -> int:
        """Of all attempts of the run only this one has it."""
        mine = self.message
        return (mine.index << COUNT_BITS | mine.part) << COUNT_BITS | mine.attempt

    def recorded(self) -> AttemptRecord | None:
        """The record of this attempt, if it has ended before."""
        own = self.folder / _RECORD
        if own.exists():
            return AttemptRecord.model_validate_json(own.read_bytes())
        for folder in (self.link, self.piece(self.message.part)):
            published = folder / RECORD_IN_TASK
            if not published.exists():
                continue
            record = AttemptRecord.model_validate_json(published.read_bytes())
            if self._is_mine(record):
                self._keep_record(published)
                return record
        return None

    def supersede(self, reason: str) -> None:
        """From now on the next attempt is the one that counts; ``reason``: why this one failed.

        Written before the next attempt is asked for, so that a second delivery of this one asks
        for it again instead of working beside it.
        """
        files.write_atomically(self.folder / SUPERSEDED, reason.encode(), sync=self.sync)
        self.discard()

    def superseded(self) -> str | None:
        """Why this attempt was given up in favour of the next, if it was."""
        try:
            return (self.folder / SUPERSEDED).read_text()
        except FileNotFoundError:
            return None

    def open_scratch(self, *, first: bool = False) -> Path:
        """A fresh folder with the task's files as they are now, to work in.

        Parts, and what joins them, begin with what was prepared for them. ``first``: see `claimed`.
        """
        if not first:
            self.discard()
        scratch = self.scratch
        if self.message.part:
            files.clone_tree(self.prepared, scratch)
        else:
            with files.locked(self.task_lock):
                files.clone_tree(files.target_of(self.link), scratch)
        return scratch

    def shown(self, log_name: str) -> AbstractContextManager[None]:
        """Inside this context others can follow this file of the scratch folder as it grows."""
        return nullcontext()

    def discard(self) -> None:
        """Throw away what the attempt has written so far and not published."""
        self._drop_temporary()
        if files.target_of(self.link).name != self.next_version.name:
            files.throw_away(self.next_version, self.trash)

    def _drop_temporary(self) -> None:
        with suppress(FileNotFoundError):
            for name in os.listdir(self.folder):
                if name not in _LASTING:
                    files.throw_away(self.folder / name, self.trash)

    def clear(self) -> None:
        """Remove what a worker that died has left, unless another one works there already."""
        try:
            with self.claimed(to_clear=True):
                self.discard()
        except (AttemptBusy, RunUnknown, StoreMissing):
            pass

    def log(self, name: str, text: str) -> None:
        """Add a line to the log ``name`` of an attempt whose worker cannot do it any more."""
        self.scratch.mkdir(exist_ok=True)
        path = self.scratch / name
        before = path.read_bytes() if path.exists() else b""
        files.write_atomically(path, before + text.encode() + b"\n", sync=False)

    def publish(self, record: AttemptRecord, log_name: str | None = None) -> None:
        """Make the scratch folder the task's folder, whole.

        With ``log_name`` only that file is taken over and everything else stays as it was: so a
        failed attempt leaves its log and nothing more.

        Raises
        ------
        RunOver
            If the run was cancelled or cleared away before this moment.
        ClaimLost
            If somebody else has taken the place of this worker, or of this attempt, before this
            moment. In both cases the task's folder is as it was.
        """
        scratch = self._finished_scratch(record)
        with files.locked(self.task_lock):
            self._check_that_it_counts()
            if log_name is None:
                scratch.rename(self.next_version)
            else:
                files.remove(self.next_version)
                files.clone_tree(files.target_of(self.link), self.next_version)
                self._take_over(scratch / log_name)
                self._take_over(scratch / RECORD_IN_TASK)
            self._swap()
        self._keep_record(self.next_version / RECORD_IN_TASK)
        if log_name is None:
            self._drop_temporary()
        else:
            self.discard()

    def publish_piece(self, record: AttemptRecord) -> None:
        """Make the scratch folder a piece of the run, whole; raises what `publish` raises."""
        scratch, piece = self._finished_scratch(record), self.piece(self.message.part)
        with files.locked(self.task_lock):
            self._check_that_it_counts()
            self.pieces.mkdir(exist_ok=True)
            files.remove(piece)
            scratch.rename(piece)
        self._keep_record(piece / RECORD_IN_TASK)
        self._drop_temporary()

    def _finished_scratch(self, record: AttemptRecord) -> Path:
        """The scratch folder with the record in it."""
        scratch = self.scratch
        path = scratch / RECORD_IN_TASK
        # It may be another name of the record of the version before.
        path.unlink(missing_ok=True)
        path.write_text(record.model_dump_json(), encoding="utf-8")
        if self.sync:
            files.sync_tree(scratch)
        return scratch

    def _check_that_it_counts(self) -> None:
        if self._is_over():
            raise RunOver
        if self.superseded() is not None:
            raise ClaimLost

    def _take_over(self, path: Path) -> None:
        if path.exists():
            path.replace(self.next_version / path.name)

    def _swap(self) -> None:
        before = files.target_of(self.link)
        relative = os.path.relpath(self.next_version, self.link.parent)
        files.link_atomically(relative, self.link)
        files.throw_away(before, self.trash)

    def _keep_record(self, published: Path) -> None:
        """Have the record also where the next attempt of another stage does not replace it."""
        files.link_or_copy_once(published, self.folder / _RECORD)

    def _is_mine(self, record: AttemptRecord) -> bool:
        mine = self.message
        return (record.run, record.index, record.part, record.attempt) == (
            str(mine.run),
            mine.index,
            mine.part,
            mine.attempt,
        )
