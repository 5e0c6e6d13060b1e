"""Who may work on an attempt in a bucket, and how do its products appear?

Every publication reads the manifest, then looks whether the attempt still counts, then replaces
that very manifest by a conditional write. Whoever takes the right away (a cancellation, a new
holder of the claim) first leaves the mark that says so, then writes the manifest anew. So either
the publication came first, or it sees the mark, or its write fails. No clock is part of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skyrelay.records import AttemptRecord
from skyrelay.store import files
from skyrelay.store.attempt import (
    RECORD_IN_TASK,
    SUPERSEDED,
    Attempt,
    AttemptBusy,
    ClaimLost,
    RunOver,
    RunUnknown,
)
from skyrelay.store.presence import StoreAway
from skyrelay.store.s3 import mirror
from skyrelay.store.s3.lease import Lease
from skyrelay.store.s3.live import sent_as_it_grows
from skyrelay.store.s3.manifest import UPLOADS, Change, Manifest
from skyrelay.store.tasks import CONFIG

if TYPE_CHECKING:
    from skyrelay.store.s3.tasks import S3TaskStore

_LIVE_LOG = "live.log"


@dataclass(frozen=True)
class S3Attempt(Attempt):
    """One attempt of one stage, or of a part of it: works on this machine, publishes in S3."""

    store: S3TaskStore
    lease: Lease

    def _is_over(self) -> bool:
        return self.store.marks(self.message.run) != {CONFIG}

    @contextmanager
    def claimed(self, *, to_clear: bool = False) -> Iterator[bool]:
        if not self.store.has_run(self.message.run):
            raise RunUnknown
        self.folder.parent.mkdir(exist_ok=True)
        with super().claimed(to_clear=to_clear), self.lease.held(self._fence) as first:
            yield first

    def clear(self) -> None:
        """Remove what a worker that died has left here, and do not let others wait for it."""
        with suppress(AttemptBusy, RunUnknown, StoreAway), super().claimed(to_clear=True):
            self.discard()
            self.lease.free_here()

    def _fence(self) -> None:
        """From now on no write of the attempt that was prepared before can succeed."""
        with suppress(FileNotFoundError):
            self.store.rewrite(self.message.task)
        key = self._piece_key(self.message.part)
        self.store.change(key, lambda before: Manifest(files=before.files), missing=Manifest())

    def recorded(self) -> AttemptRecord | None:
        own = self.store.bucket.find(self.record_key)
        if own is not None:
            return AttemptRecord.model_validate_json(own.body)
        keys = (self.store.manifest_key(self.message.task), self._piece_key(self.message.part))
        for key in keys:
            record = self._record_in(key)
            if record is not None and self._is_mine(record):
                self._write_record(record)
                return record
        return None

    def supersede(self, reason: str) -> None:
        """The next attempt counts; raises ClaimLost if this one is another worker's by now."""
        if not self.lease.is_mine():
            raise ClaimLost
        self.store.bucket.put(self._superseded_key, reason.encode())
        self._fence()
        # Whoever has taken the claim since then, and published, was faster.
        if self.recorded() is not None:
            raise ClaimLost
        self.discard()

    def superseded(self) -> str | None:
        found = self.store.bucket.find(self._superseded_key)
        return None if found is None else found.body.decode()

    def open_scratch(self, *, first: bool = False) -> Path:
        # Another machine may have been the first; what is on this one goes in any case.
        self.discard()
        if self.message.part:
            self.store.mirror_piece(self._piece_key(0), self.prepared)
            files.clone_tree(self.prepared, self.scratch)
        else:
            self.store.clone(self.message.task, self.scratch)
        return self.scratch

    def shown(self, log_name: str) -> AbstractContextManager[None]:
        return sent_as_it_grows(self.scratch / log_name, self.store.bucket, self.live_log_key)

    @property
    def live_log_key(self) -> str:
        """The key of what the attempt has said so far, while it works."""
        return self._key(self.folder / _LIVE_LOG)

    def discard(self) -> None:
        self._drop_temporary()

    def record_of_piece(self, part: int) -> AttemptRecord | None:
        record = self._record_in(self._piece_key(part))
        if record is not None:
            self.store.mirror_piece(self._piece_key(part), self.piece(part))
        return record

    def publish(self, record: AttemptRecord, log_name: str | None = None) -> None:
        task = self.message.task
        scratch = self._finished_scratch(record)
        only = None if log_name is None else {log_name, RECORD_IN_TASK}
        self._check_that_it_counts()
        place = f"{task}/objects"
        lasting = (f"{place}/", UPLOADS)
        sent = mirror.send(self.store.bucket, scratch, place, keep=lasting, only=only)

        def publication(before: Manifest) -> Manifest:
            self._check_that_it_counts()
            return Manifest(files=sent if only is None else {**before.files, **sent})

        manifest = self._replace(self.store.manifest_key(task), publication)
        self._write_record(record)
        if only is None:
            self.store.keep_here(task, manifest, scratch)
        self.discard()

    def publish_piece(self, record: AttemptRecord) -> None:
        scratch = self._finished_scratch(record)
        self._check_that_it_counts()
        key = self._piece_key(self.message.part)
        place = key.removesuffix("/manifest.json")
        lasting = (f"{self.message.task}/objects/", UPLOADS, f"{self._key(self.pieces)}/")
        sent = mirror.send(self.store.bucket, scratch, place, keep=lasting)

        def publication(_: Manifest) -> Manifest:
            self._check_that_it_counts()
            return Manifest(files=sent)

        self._replace(key, publication, missing=Manifest())
        self._write_record(record)
        self.discard()

    def _replace(self, key: str, change: Change, missing: Manifest | None = None) -> Manifest:
        try:
            return self.store.change(key, change, missing=missing)
        except FileNotFoundError as error:
            raise RunOver from error

    def _check_that_it_counts(self) -> None:
        super()._check_that_it_counts()
        if not self.lease.is_mine():
            raise ClaimLost

    def _record_in(self, key: str) -> AttemptRecord | None:
        """The record that was published with the manifest of this key."""
        found = self.store.bucket.find(key)
        if found is None:
            return None
        stored = Manifest.model_validate_json(found.body).files.get(RECORD_IN_TASK)
        if stored is None:
            return None
        return AttemptRecord.model_validate_json(self.store.bucket.get(stored.key).body)

    def _write_record(self, record: AttemptRecord) -> None:
        """Have the record also where the next attempt of another stage does not replace it."""
        self.store.bucket.put(self.record_key, record.model_dump_json().encode())

    def _key(self, path: Path) -> str:
        return str(path.relative_to(self.store_root))

    def _piece_key(self, part: int) -> str:
        return f"{self._key(self.piece(part))}/manifest.json"

    @property
    def _superseded_key(self) -> str:
        return self._key(self.folder / SUPERSEDED)
