"""Where are the files of a task that lives in a bucket?

``<id>/manifest.json`` says which objects are its files: what stages have made lies below
``<id>/objects/``, what users have brought below ``.uploads/``. Stages and readers that need files
work on this machine: the store's folder has scratch and a mirror of what was asked for lately,
arranged as a local store is, and is worth nothing without the bucket. Keys of runs are those that
the files of a local store have.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from skyrelay.messages import RunStage
from skyrelay.records import AttemptRecord
from skyrelay.store import files
from skyrelay.store.attempt import CANCELLED, RESERVED_PREFIX
from skyrelay.store.presence import RUNS, StoreAway
from skyrelay.store.s3 import mirror
from skyrelay.store.s3.attempt import S3Attempt
from skyrelay.store.s3.bucket import Bucket, Conflict, Listed
from skyrelay.store.s3.lease import Lease
from skyrelay.store.s3.manifest import UPLOADS, Change, Manifest, StoredFile
from skyrelay.store.tasks import (
    CONFIG,
    INCOMING,
    TRIES,
    UNSETTLED,
    VERSIONS,
    Entry,
    StoredRun,
    TaskStore,
)

#: Names this folder among all that use the bucket.
_PLACE = ".place"
#: Objects of which no manifest knows are left alone so long: they may be of a publication, or be
#: read by who has an older manifest.
_YOUNG = timedelta(days=1)
#: Its age says when a process last began to search the bucket for these, which is done so often.
SEARCHED = ".searched"
_SEARCH_EVERY = timedelta(days=1)
#: How the names of a run's configuration and cancellation begin, so that one listing finds both.
_MARKS = "c"
#: Seconds for which a version that was asked for is left alone: somebody may read it.
_IN_USE = 600.0
#: Seconds between two looks at the size of the mirror.
_LOOK = 60.0

_T = TypeVar("_T")


class S3TaskStore(TaskStore):
    """The files of all tasks below ``s3://bucket/prefix``.

    ``root`` is scratch and mirror, the latter of ``cache`` bytes at most, files in use apart. With
    ``redirect`` clients load files from S3 themselves.
    """

    def __init__(self, root: Path, url: str, *, cache: float, redirect: bool = False) -> None:
        super().__init__(root)
        self.bucket = Bucket(url)
        self._cache = cache
        self._redirect = redirect
        self._looked = 0.0
        self._uploaded: WeakKeyDictionary[IO[bytes], StoredFile] = WeakKeyDictionary()
        with self.incoming() as name:
            name.write(secrets.token_hex(8).encode())
            name.flush()
            files.link_or_copy_once(Path(name.name), self.root / _PLACE)
        self._place = (self.root / _PLACE).read_text()

    def room(self) -> None:
        """A bucket has no size; what is under ``root`` are copies."""
        if not self.bucket.answers():
            raise StoreAway("S3 does not answer")

    def answers(self) -> bool:
        return super().answers() and self.bucket.answers()

    # Manifests

    def manifest_key(self, task: int) -> str:
        """The key of the object that says what the task's files are."""
        return f"{task}/manifest.json"

    def manifest(self, task: int) -> Manifest:
        """The task's files as they are now; FileNotFoundError if there is no such task."""
        return Manifest.model_validate_json(self.bucket.get(self.manifest_key(task)).body)

    def change(self, key: str, change: Change, *, missing: Manifest | None = None) -> Manifest:
        """Replace a manifest by what ``change`` makes of it, which is asked again if others do so.

        Raises
        ------
        FileNotFoundError
            If it is not there, and nothing was given for that case.
        """
        while True:
            found = self.bucket.find(key)
            if found is None and missing is None:
                raise FileNotFoundError(key)
            before = Manifest.model_validate_json(found.body) if found else missing
            assert before is not None
            after = change(before)
            try:
                self.bucket.put_after(
                    key, after.model_dump_json().encode(), found.etag if found else None
                )
            except Conflict:
                continue
            return after

    def rewrite(self, task: int) -> None:
        """Write the manifest anew: who has read it before cannot replace it any more."""
        self.change(self.manifest_key(task), lambda before: Manifest(files=before.files))

    # The task's folder

    def folder(self, task: int) -> Path:
        """A folder on this machine with all of the task's files, as they are now."""
        with suppress(FileNotFoundError), self.locked(task):
            self._mirrored(task)
        return self._link(task)

    def create(self, task: int) -> Path:
        # What is there is of a task that was never committed: SQLite gives its number again.
        self.change(self.manifest_key(task), lambda _: Manifest(), missing=Manifest())
        # On this machine it is made when somebody asks for it: others wait for us now.
        return self._link(task)

    def duplicate(self, source: int, task: int, names: Set[str] | None = None) -> None:
        copies = {}
        for name, stored in self.manifest(source).files.items():
            if names is not None and name.partition("/")[0] not in names:
                continue
            key = f"{task}/objects/{secrets.token_hex(8)}/{name}"
            self.bucket.copy(stored.key, key)
            copies[name] = stored.model_copy(update={"key": key})
        copy = Manifest(files=copies)
        self.change(self.manifest_key(task), lambda _: copy, missing=copy)

    def delete(self, task: int) -> None:
        uploads = [key for key in self._named(task) if key.startswith(UPLOADS)]
        # First of all the manifest: without it nothing can be published.
        self.bucket.delete([self.manifest_key(task)])
        self.bucket.delete([*uploads, *(item.key for item in self.bucket.listing(f"{task}/"))])
        super().delete(task)

    def unsettle(self, task: int) -> None:
        self.bucket.put(f"{UNSETTLED}/{task}", b"")

    def settle(self, task: int) -> None:
        self.bucket.delete([f"{UNSETTLED}/{task}"])

    def unsettled(self) -> Iterator[tuple[int, datetime]]:
        for item in self.bucket.listing(f"{UNSETTLED}/"):
            name = item.key.removeprefix(f"{UNSETTLED}/")
            if name.isdecimal():
                yield int(name), item.modified

    def orphans(self) -> Iterator[int]:
        """Those on this machine; and once a day, for one process of all, those in the bucket.

        The latter have objects that no manifest names. They are told while the bucket is listed:
        a request for a thousand objects, and one for the manifest of each task. In the end, what
        was uploaded and is no task's is removed here: there is nobody whose it could be told to be.
        """
        yield from super().orphans()
        if self._begins_search():
            yield from self._with_unnamed_objects()

    def _begins_search(self) -> bool:
        found = self.bucket.find(SEARCHED)
        if found is not None and found.age < _SEARCH_EVERY.total_seconds():
            return False
        mark = secrets.token_hex(8).encode()
        try:
            self.bucket.put_after(SEARCHED, mark, found.etag if found else None)
        except Conflict:
            return False  # Another process was faster.
        return True

    def _with_unnamed_objects(self) -> Iterator[int]:
        limit = datetime.now(UTC) - _YOUNG
        # Listed before any manifest is read: all of these were named by now, or never will be.
        uploads = {i.key for i in self.bucket.listing(UPLOADS) if i.modified < limit}
        # Objects are listed in the order of their keys: those of a task come together.
        for task, listed in groupby(self.bucket.listing(""), _top_of):
            if task.isdecimal():
                place = f"{task}/objects/"
                old = {i.key for i in listed if i.key.startswith(place) and i.modified < limit}
                named = self._named(int(task)) if old or uploads else set()
                uploads -= named
                if old - named:
                    yield int(task)
        self.bucket.delete(list(uploads))

    def drop_orphans(self, task: int, *, gone: bool) -> None:
        limit = datetime.now(UTC) - _YOUNG
        listed = list(self.bucket.listing(f"{task}/objects/"))
        named = self._named(task)
        self.bucket.delete(
            [item.key for item in listed if item.modified < limit and item.key not in named]
        )
        super().drop_orphans(task, gone=gone)

    def _named(self, task: int) -> set[str]:
        try:
            return {stored.key for stored in self.manifest(task).files.values()}
        except FileNotFoundError:
            return set()

    def path(self, task: int, relative: str, beside: Sequence[str] = ()) -> Path:
        """The place of a file of the task on this machine; it is loaded if it is there at all."""
        name = _checked(relative)
        with self.locked(task):
            return self._mirrored(task, (name, *beside)) / name

    def has(self, task: int, relative: str) -> bool:
        try:
            return relative in self.manifest(task).files
        except FileNotFoundError:
            return False

    def length(self, task: int, relative: str) -> int:
        stored = self.manifest(task).files.get(_checked(relative))
        if stored is None:
            raise FileNotFoundError(relative)
        return stored.size

    def size(self, task: int) -> int:
        try:
            return sum(stored.size for stored in self.manifest(task).files.values())
        except FileNotFoundError:
            return 0

    def address(self, task: int, relative: str) -> str | None:
        if not self._redirect:
            return None
        name = _checked(relative)
        stored = self.manifest(task).files.get(name)
        if stored is None:
            raise FileNotFoundError(relative)
        return self.bucket.address(stored.key, PurePosixPath(name).name)

    def complete(self, received: IO[bytes]) -> None:
        received.flush()
        path = Path(received.name)
        status = path.stat()
        key = f"{UPLOADS}{secrets.token_hex(16)}"
        self.bucket.upload(path, key)
        self._uploaded[received] = StoredFile(
            key=key, size=status.st_size, modified=status.st_mtime_ns
        )

    def adopt(self, task: int, relative: str, received: IO[bytes]) -> int:
        name, stored = _checked(relative), self._uploaded[received]
        self.change(
            self.manifest_key(task),
            lambda before: Manifest(files={**before.files, name: stored}),
        )
        return stored.size

    def drop_incoming(self, before: datetime) -> None:
        super().drop_incoming(before)
        self.bucket.abort_uploads(before)

    def remove(self, task: int, relative: str) -> None:
        name = _checked(relative)

        def without(before: Manifest) -> Manifest:
            gone = before.below(name)
            if not gone:
                raise FileNotFoundError(relative)
            return Manifest(files={k: v for k, v in before.files.items() if k not in gone})

        self.change(self.manifest_key(task), without)

    def entries(self, task: int) -> list[Entry]:
        try:
            manifest = self.manifest(task)
        except FileNotFoundError:
            return []
        found: dict[str, Entry] = {}
        for path, stored in manifest.files.items():
            name, _, below = path.partition("/")
            if not name.startswith("."):
                size = 0 if below else stored.size
                found[name] = Entry(name, name, size, stored.time, is_dir=bool(below))
        return [found[name] for name in sorted(found)]

    def read_version(
        self, task: int, read: Callable[[Path], _T], only: Sequence[str] | None = None
    ) -> _T:
        for _ in range(TRIES):
            with self.locked(task):
                folder = self._mirrored(task, only)
            try:
                return read(folder)
            except FileNotFoundError:
                if folder.exists():
                    raise
        with self.locked(task):
            return read(self._mirrored(task, only))

    # The mirror

    def clone(self, task: int, target: Path) -> None:
        """Make ``target`` a folder with the task's files as they are now, to work in."""
        with self.locked(task):
            files.clone_tree(self._mirrored(task), target)

    def mirror_piece(self, key: str, folder: Path) -> None:
        """Make ``folder`` the folder whose manifest has this key."""
        manifest = Manifest.model_validate_json(self.bucket.get(key).body)
        if mirror.origin_of(folder) == manifest:
            return
        self._throw_away(folder)
        arriving = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}")
        arriving.mkdir(parents=True)
        mirror.fetch(self.bucket, manifest, manifest.files, arriving, self.root / INCOMING)
        mirror.name_origin(arriving, manifest)
        arriving.rename(folder)

    def keep_here(self, task: int, manifest: Manifest, scratch: Path) -> None:
        """Let the finished scratch be the mirror of what was published from it."""
        mirror.name_origin(scratch, manifest)
        with self.locked(task):
            version = self._version(task, manifest)
            if not version.exists():
                scratch.rename(version)
                self._show(task, version)

    def _mirrored(self, task: int, only: Sequence[str] | None = None) -> Path:
        """The folder here of the version that is current, with these files at least."""
        manifest = self.manifest(task)
        version = self._version(task, manifest)
        before = files.target_of(self._link(task))
        if before.name != version.name or not version.is_dir():
            version.mkdir(exist_ok=True)
            mirror.share(before, version, manifest)
            mirror.name_origin(version, manifest)
            self._show(task, version)
        os.utime(version)
        names = manifest.files if only is None else set().union(*map(manifest.below, only))
        mirror.fetch(self.bucket, manifest, names, version, self.root / INCOMING)
        with suppress(FileNotFoundError):  # Another process does the same.
            self._shrink(keep=version)
        return version

    def _show(self, task: int, version: Path) -> None:
        before = self._linked_version(task)
        files.link_atomically(f"{VERSIONS}/{version.name}", self._link(task))
        if before not in (None, version.name):
            self._throw_away(self.root / VERSIONS / before)

    def _shrink(self, keep: Path) -> None:
        """Drop what was not asked for longest, if the mirror has become too large."""
        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        versions = sorted((self.root / VERSIONS).iterdir(), key=lambda path: path.stat().st_mtime)
        sizes = {version: files.size_of_tree(version) for version in versions}
        for version in versions:
            if sum(sizes.values()) <= self._cache:
                break
            if version != keep and version.stat().st_mtime < time.time() - _IN_USE:
                self._throw_away(version)
                del sizes[version]
        self.empty_trash()

    def _version(self, task: int, manifest: Manifest) -> Path:
        return self.root / VERSIONS / f"{task}-{manifest.version}"

    # Runs

    def create_run(self, run: UUID, config: dict[str, Any]) -> str:
        key = self._key(self._run_folder(run) / CONFIG)
        self.bucket.put(key, json.dumps(config).encode())
        return key

    def cancel_run(self, task: int, run: UUID) -> None:
        if not self.has_run(run):
            return
        self.bucket.put(self._key(self._run_folder(run) / CANCELLED), b"")
        # If the task was deleted nothing can be published in it.
        with suppress(FileNotFoundError):
            self.rewrite(task)

    def marks(self, run: UUID) -> set[str]:
        """Which of configuration and cancellation the run has."""
        folder = self._key(self._run_folder(run))
        found = self.bucket.listing(f"{folder}/{_MARKS}")
        return {item.key.removeprefix(f"{folder}/") for item in found} & {CONFIG, CANCELLED}

    def has_run(self, run: UUID) -> bool:
        return CONFIG in self.marks(run)

    def runs(self) -> Iterator[StoredRun]:
        for name, listed in groupby(self.bucket.listing(f"{RUNS}/"), _run_of):
            try:
                run = UUID(name)
            except ValueError:
                continue
            modified = {item.key.removeprefix(f"{RUNS}/{name}/"): item.modified for item in listed}
            yield StoredRun(
                run,
                max(modified.values()),
                is_there=CONFIG in modified,
                cancelled=CANCELLED in modified,
            )

    def close_run(self, run: UUID) -> None:
        folder = self._key(self._run_folder(run))
        # First of all the configuration: without it no attempt begins or publishes.
        self.bucket.delete([f"{folder}/{CONFIG}"])
        self.bucket.delete([item.key for item in self.bucket.listing(f"{folder}/")])
        super().close_run(run)

    def attempt(self, message: RunStage) -> S3Attempt:
        local = super().attempt(message)
        key = f"{self._key(local.folder)}/claim.json"
        return S3Attempt(**vars(local), store=self, lease=Lease(self.bucket, key, self._place))

    def live_log(self, message: RunStage, name: str) -> bytes:
        return self.bucket.get(self.attempt(message).live_log_key).body

    def read_config(self, key: str) -> dict[str, Any]:
        content = json.loads(self.bucket.get(key).body)
        config: dict[str, Any] = content if key.endswith(CONFIG) else content["config"]
        return config

    def read_record(self, key: str) -> AttemptRecord:
        return AttemptRecord.model_validate_json(self.bucket.get(key).body)


def _top_of(item: Listed) -> str:
    return item.key.partition("/")[0]


def _run_of(item: Listed) -> str:
    return item.key.split("/")[1]


def _checked(relative: str) -> str:
    """The path in the form that manifests have; FileNotFoundError if no file can have it."""
    path = PurePosixPath(relative)
    parts = path.parts
    hidden = any(part.startswith(RESERVED_PREFIX) or part == ".." for part in parts)
    if not parts or hidden or path.is_absolute() or "\0" in relative:
        raise FileNotFoundError(relative)
    return str(path)
