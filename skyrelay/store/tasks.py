"""Where are the files of a task, and how do they change without being seen half changed?

``<root>/<id>`` is the task's folder: a symbolic link to ``<root>/.versions/<id>-<token>``. An
attempt of a stage prepares the next version beside it and swaps the link, so that a reader sees
all products of an attempt or none. What a run needs beside products is in ``<root>/.runs/<run>``.
A folder without the mark of a store is none: see `presence`.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar
from uuid import UUID

from skyrelay.messages import RunStage
from skyrelay.records import AttemptRecord
from skyrelay.store import files
from skyrelay.store.attempt import CANCELLED, RESERVED_PREFIX, Attempt
from skyrelay.store.presence import MARK, RUNS, check, is_gone

VERSIONS = ".versions"
LOCKS = ".locks"
UNSETTLED = ".unsettled"
_TRASH = ".trash"
INCOMING = ".incoming"
#: All of a store but its mark.
FOLDERS = (VERSIONS, RUNS, LOCKS, UNSETTLED, _TRASH, INCOMING)
CONFIG = "config.json"
#: A stage may publish while a folder is listed; hardly each time.
TRIES = 5

_T = TypeVar("_T")


@dataclass(frozen=True)
class Entry:
    """A file or folder in a task's folder."""

    name: str
    path: str
    size: int
    modified: datetime
    is_dir: bool


@dataclass(frozen=True)
class StoredRun:
    """What is in the store of a run.

    ``changed``: when its folder was made or changed last; ``is_there``: what `TaskStore.has_run`
    says; ``cancelled``: no attempt of it starts or publishes anything any more.
    """

    run: UUID
    changed: datetime
    is_there: bool
    cancelled: bool


class TaskStore:
    """The files of all tasks under one folder of a local or shared file system.

    Where its file system is not mounted the store is away: what is asked of it raises OSError,
    and nothing in it is taken for missing.

    ``sync``: a run has begun, and an attempt has ended, only when the disk has taken its files.
    ``make``: make it, if it is not there; else `make` is for who knows that it may be a new one.
    """

    def __init__(self, root: Path, *, sync: bool = False, make: bool = True) -> None:
        self.root = root.absolute()
        self._sync = sync
        if make:
            self.make()

    def make(self) -> None:
        """Make the store, or what is missing of it; what is there stays."""
        for name in FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        # Last of all: who sees it finds the rest. It may be somebody else's, whom we only help.
        if not (self.root / MARK).exists():
            (self.root / MARK).touch()

    def is_made(self) -> bool:
        """Whether there is the mark of a store."""
        return (self.root / MARK).exists()

    def answers(self) -> bool:
        """Whether the store as such can be read and written now."""
        try:
            with self.incoming() as probe:
                probe.write(b"?")
                probe.flush()
            os.listdir(self.root / LOCKS)
        except OSError:
            return False
        return True

    # The task's folder

    def folder(self, task: int) -> Path:
        """The folder with the task's files."""
        return self._link(task)

    def _link(self, task: int) -> Path:
        return self.root / str(task)

    def tasks(self) -> list[int]:
        """The tasks that have a folder, by number; of those made meanwhile some may be missing."""
        # A listing may pass over a link that is swapped meanwhile. Who swaps one made its lock
        # before, and locks are listed after.
        names = [*os.listdir(self.root), *os.listdir(self.root / LOCKS)]
        numbers = {int(name) for name in names if name.isdecimal()}
        return sorted(task for task in numbers if os.path.lexists(self._link(task)))

    def create(self, task: int) -> Path:
        """Make the folder of a new task."""
        with self.locked(task):
            version = self.new_version(task)
            version.mkdir()
            files.link_atomically(f"{VERSIONS}/{version.name}", self._link(task))
        return self._link(task)

    def duplicate(self, source: int, task: int, names: Set[str] | None = None) -> None:
        """Make the folder of a new task, with the files of another one as they are now.

        ``names``: only these, of those at the top of the folder.
        """
        with self.locked(task), self.locked(source):
            version = self.new_version(task)
            files.clone_tree(self._link(source).resolve(), version, names)
            files.link_atomically(f"{VERSIONS}/{version.name}", self._link(task))

    def clone(self, task: int, target: Path) -> None:
        """Make ``target`` a folder with the task's files as they are now.

        Raises
        ------
        FileNotFoundError
            If there is no such task, or its link leads nowhere.
        """
        with self.locked(task):
            files.clone_tree(self._link(task).resolve(strict=True), target)

    def delete(self, task: int) -> None:
        """Take the task's folder away with everything in it; the trash has it until emptied."""
        with self.locked(task):
            link = self._link(task)
            version = link.resolve()
            link.unlink(missing_ok=True)
            if version.parent == (self.root / VERSIONS).resolve() and version.is_dir():
                self._throw_away(version)

    def unsettle(self, task: int) -> None:
        """Mark the task as one that is being made or deleted: it may be there or not."""
        check(self.root)
        (self.root / UNSETTLED / str(task)).touch()

    def settle(self, task: int) -> None:
        """Take that mark away: who looks for the task knows whether it is there."""
        (self.root / UNSETTLED / str(task)).unlink(missing_ok=True)

    def unsettled(self) -> Iterator[tuple[int, datetime]]:
        """The tasks that are marked so, and since when."""
        return self._dated(UNSETTLED, int)

    def orphans(self) -> Iterable[int]:
        """The tasks of which there is a version, a lock or half a link that no folder needs.

        A look without any lock: what is found may be in use a moment later, or be so already.
        """
        found = set()
        with os.scandir(self.root / VERSIONS) as versions:
            for version in versions:
                task = version.name.partition("-")[0]
                if task.isdecimal() and not self._may_be_needed(int(task), version.name):
                    found.add(int(task))
        with os.scandir(self.root / LOCKS) as locks:
            for lock in locks:
                if lock.name.isdecimal() and not self._link(int(lock.name)).is_symlink():
                    found.add(int(lock.name))
        with os.scandir(self.root) as links:
            for link in links:
                task = link.name[1:].partition(".")[0]
                if link.name.startswith(".") and task.isdecimal():
                    found.add(int(task))
        return found

    def drop_orphans(self, task: int, *, gone: bool) -> None:
        """Remove what crashes have left of a task; ``gone``: it will never be back.

        Who makes a version links it before letting go of the task's lock. So a version that is
        not linked, seen by who holds the lock, is one whose maker died.
        """
        with self.locked(task):
            linked = os.path.lexists(self._link(task))
            for path in (self.root / VERSIONS).glob(f"{task}-*"):
                if not self._may_be_needed(task, path.name):
                    self._throw_away(path)
            for path in self.root.glob(f".{task}.*"):
                path.unlink(missing_ok=True)
            if gone and not linked:
                (self.root / LOCKS / str(task)).unlink(missing_ok=True)

    def _may_be_needed(self, task: int, version: str) -> bool:
        """Whether the version is the task's folder, or should perhaps be: its link is damaged."""
        try:
            linked = self._linked_version(task)
        except OSError:
            return True
        return linked == version or (linked is not None and not os.path.isdir(self._link(task)))

    def _linked_version(self, task: int) -> str | None:
        """The name of the version that is the task's folder."""
        try:
            return Path(os.readlink(self._link(task))).name
        except FileNotFoundError:
            return None

    def locked(self, task: int) -> AbstractContextManager[None]:
        """Nobody else changes the task's folder, or cancels its run, inside this context."""
        check(self.root)
        return files.locked(self.root / LOCKS / str(task))

    def path(self, task: int, relative: str, beside: Sequence[str] = ()) -> Path:
        """The place of a file in the task's folder; ``beside``: what is read together with it.

        Raises
        ------
        FileNotFoundError
            If the path leads out of the folder, to the folder itself, or to a reserved name.
        """
        check(self.root)
        folder = self._link(task).resolve()
        try:
            path = (folder / relative).resolve()
        except (OSError, ValueError) as error:
            raise FileNotFoundError(relative) from error
        if path == folder or not path.is_relative_to(folder):
            raise FileNotFoundError(relative)
        if any(part.startswith(RESERVED_PREFIX) for part in path.relative_to(folder).parts):
            raise FileNotFoundError(relative)
        return path

    def has(self, task: int, relative: str) -> bool:
        """Whether the task has this file."""
        check(self.root)
        return (self._link(task) / relative).is_file()

    def length(self, task: int, relative: str) -> int:
        """Bytes of a file of the task; FileNotFoundError if it has none of that name."""
        return self.path(task, relative).stat().st_size

    def size(self, task: int) -> int:
        """Bytes of all files of the task, as it is at this moment."""
        check(self.root)
        return files.size_of_tree(self._link(task).resolve())

    def address(self, task: int, relative: str) -> str | None:
        """Where a client may load the file itself, without the gateway; None: nowhere."""
        return None

    def room(self) -> tuple[int, int] | None:
        """Bytes that are free for tasks' files, and bytes in all; None: nobody can say.

        Raises
        ------
        OSError
            If the store does not answer.
        """
        check(self.root)
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def incoming(self) -> IO[bytes]:
        """A named file on the store's file system for what arrives slowly; gone when closed."""
        check(self.root)
        return tempfile.NamedTemporaryFile(dir=self.root / INCOMING)

    def complete(self, received: IO[bytes]) -> None:
        """Have the store take an `incoming` file: what was accepted must survive a power failure.

        Takes its time, and so is done before anybody is kept waiting. What is never adopted is
        removed some day.
        """
        received.flush()
        os.fsync(received.fileno())

    def adopt(self, task: int, relative: str, received: IO[bytes]) -> int:
        """Make an `incoming` file, `complete` now, one of the task's; its size in bytes.

        Takes no time, whatever the size, so that it can be done while others are kept waiting.
        """
        with self.locked(task):
            path = self.path(task, relative)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.chmod(received.name, 0o644)
            files.link_or_copy_atomically(Path(received.name), path)
            return path.stat().st_size

    def drop_incoming(self, before: datetime) -> None:
        """Remove incoming files of processes that died, untouched since ``before``."""
        for path in (self.root / INCOMING).iterdir():
            if path.stat().st_mtime < before.timestamp():
                path.unlink(missing_ok=True)

    def remove(self, task: int, relative: str) -> None:
        """Take a file away, or a folder with all that is in it, as `delete` does.

        Raises
        ------
        FileNotFoundError
            If there is no such thing in the task's folder.
        """
        with self.locked(task):
            path = self.path(task, relative)
            if not path.exists():
                raise FileNotFoundError(relative)
            self._throw_away(path)

    def entries(self, task: int) -> list[Entry]:
        """What is at the top level of the task's folder, by name: of one version, whole."""
        try:
            return self.read_version(task, self._entries)
        except FileNotFoundError:
            return []

    def read_version(
        self, task: int, read: Callable[[Path], _T], only: Sequence[str] | None = None
    ) -> _T:
        """What ``read`` finds in the task's folder: in one version of it, whole.

        ``only``: it looks at these files and folders alone; the others need not be there.

        Raises
        ------
        FileNotFoundError
            If there is no such folder, or ``read`` says that something is missing in it.
        """
        sure = False
        for _ in range(TRIES):
            folder = self._link(task).resolve()
            missing: FileNotFoundError | None = None
            try:
                found = read(folder)
            except FileNotFoundError as error:
                missing = error
            # While nothing else was published, nothing of this version was removed either.
            if self._link(task).resolve() == folder:
                if missing is None:
                    if folder.is_dir():
                        return found
                    missing = FileNotFoundError(str(folder))
                if sure:
                    raise missing
                # If the store is there now it may have been away when we read.
                check(self.root)
                sure = True
        with self.locked(task):
            return read(self._link(task).resolve())

    def _entries(self, folder: Path) -> list[Entry]:
        found = []
        for item in os.scandir(folder):
            if item.name.startswith("."):
                continue
            try:
                status = item.stat()
            except FileNotFoundError:
                continue
            found.append(
                Entry(
                    name=item.name,
                    path=item.name,
                    size=status.st_size,
                    modified=datetime.fromtimestamp(status.st_mtime, UTC),
                    is_dir=stat.S_ISDIR(status.st_mode),
                )
            )
        return sorted(found, key=lambda entry: entry.name)

    # Runs

    def create_run(self, run: UUID, config: dict[str, Any]) -> str:
        """Make the folder of a new run; the path of its configuration, relative to the store."""
        check(self.root)
        folder = self._run_folder(run)
        folder.mkdir()
        files.write_atomically(folder / CONFIG, json.dumps(config).encode(), sync=self._sync)
        return self._key(folder / CONFIG)

    def cancel_run(self, task: int, run: UUID) -> None:
        """From now on no attempt of this run starts or publishes anything."""
        with self.locked(task):
            if self.has_run(run):
                (self._run_folder(run) / CANCELLED).touch()

    def runs(self) -> Iterator[StoredRun]:
        """The runs of which anything is in the store."""
        check(self.root)
        for run, changed in self._dated(RUNS, UUID):
            cancelled = (self._run_folder(run) / CANCELLED).exists()
            yield StoredRun(run, changed, is_there=True, cancelled=cancelled)

    def _dated(self, name: str, read: Callable[[str], _T]) -> Iterator[tuple[_T, datetime]]:
        """What the names in a folder of ours say, and when each was made or changed last."""
        with os.scandir(self.root / name) as entries:
            for entry in entries:
                try:
                    yield read(entry.name), datetime.fromtimestamp(entry.stat().st_mtime, UTC)
                except (ValueError, FileNotFoundError):
                    continue  # Not ours, or gone just now.

    def has_run(self, run: UUID) -> bool:
        """Whether the run has a folder."""
        return not is_gone(self.root, self._run_folder(run))

    def close_run(self, run: UUID) -> None:
        """Throw away what a run that has ended left beside its products."""
        self._throw_away(self._run_folder(run))

    def _throw_away(self, path: Path) -> None:
        files.throw_away(path, self.root / _TRASH)

    def empty_trash(self) -> None:
        """Remove what was thrown away, also what somebody still wrote into the last time."""
        files.empty(self.root / _TRASH)

    def attempt(self, message: RunStage) -> Attempt:
        """The place of one attempt of one stage."""
        stage = f"{message.index}-{message.step}"
        # Always the same name, so that what a crash left behind is found and removed.
        number = f"{message.part}-{message.attempt}"
        version = f"{message.task}-{message.run}-{message.index}-{number}"
        return Attempt(
            message=message,
            store_root=self.root,
            folder=self._run_folder(message.run) / f"{stage}-{number}",
            pieces=self._run_folder(message.run) / f"{stage}-pieces",
            link=self._link(message.task),
            next_version=self.root / VERSIONS / version,
            task_lock=self.root / LOCKS / str(message.task),
            trash=self.root / _TRASH,
            sync=self._sync,
        )

    def live_log(self, message: RunStage, name: str) -> bytes:
        """What an attempt that works has said so far; FileNotFoundError if it is nothing."""
        return (self.attempt(message).scratch / name).read_bytes()

    def read_config(self, key: str) -> dict[str, Any]:
        """The configuration at the path ``key``: a run's first one, or that of a record."""
        content = json.loads(self._read(key))
        config: dict[str, Any] = content if key.endswith(CONFIG) else content["config"]
        return config

    def read_record(self, key: str) -> AttemptRecord:
        """The record of an attempt at the path ``key``."""
        return AttemptRecord.model_validate_json(self._read(key))

    def _read(self, key: str) -> bytes:
        path = self.root / key
        try:
            return path.read_bytes()
        except FileNotFoundError:
            check(self.root)
            # The file system may have come back meanwhile.
            return path.read_bytes()

    def _key(self, path: Path) -> str:
        return str(path.relative_to(self.root))

    def _run_folder(self, run: UUID) -> Path:
        return self.root / RUNS / str(run)

    def new_version(self, task: int) -> Path:
        """Where the next version of the task's folder may be made."""
        return self.root / VERSIONS / f"{task}-{secrets.token_hex(4)}"
