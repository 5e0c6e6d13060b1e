"""What have the sky services said before, to any replica?

``<folder>/<service>/<xx>/<key>.<content>``: one file per answer, named by the digests of the
request and of what is inside. It appears whole, by rename, and is compared with its name whenever
it is read; what was damaged is taken away. Who fetches an answer holds a lock that the kernel
frees if it dies; all others who want the same wait, and share its success or its failure.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from skyrelay.store import files

_LOCKS = ".locks"
_INCOMING = ".incoming"
_SWEEP = ".sweep"
#: After a sweep there is room for this part of the limit.
_ROOM = 0.1
#: What lies in `_INCOMING` or `_LOCKS` for so many seconds belongs to nobody.
_ABANDONED = 86400.0
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Cache:
    """Answers of services in a folder that all replicas share.

    Attributes
    ----------
    folder : Path
        Where they are; made at the first use.
    limit : float
        Bytes; what was not used for the longest time goes first.
    """

    folder: Path
    limit: float

    def find(self, service: str, key: str, oldest: float | None) -> IO[bytes] | None:
        """The answer, whole, as an open file; None if there is none younger than ``oldest``.

        The file stays readable whatever happens to its name.
        """
        digest = _digest_of_key(service, key)
        for path in self._home(service, digest).glob(f"{digest}.*"):
            file = _verified(path)
            if file is None:
                path.unlink(missing_ok=True)
                continue
            status = os.fstat(file.fileno())
            if oldest is None or time.time() - status.st_mtime <= oldest:
                _touch(path, status.st_mtime)
                return file
            file.close()
        return None

    @contextmanager
    def fetching(self, service: str, key: str) -> Iterator[Fetch]:
        """Be the only one who fetches this answer."""
        path = self.folder / _LOCKS / _digest_of_key(service, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        began = time.time()
        with files.locked(path):
            fetch = Fetch(path, path.read_text(encoding="utf-8"), path.stat().st_mtime >= began)
            try:
                yield fetch
            finally:
                if not fetch.failed:
                    path.unlink(missing_ok=True)

    @contextmanager
    def incoming(self) -> Iterator[IO[bytes]]:
        """A file for an answer that is arriving; gone afterwards, unless it was kept."""
        folder = self.folder / _INCOMING
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            try:
                yield file
            finally:
                Path(file.name).unlink(missing_ok=True)

    def keep(self, service: str, key: str, file: IO[bytes]) -> None:
        """Make an `incoming` file, complete now, the answer to this request."""
        file.flush()
        os.fsync(file.fileno())
        digest = _digest_of_key(service, key)
        home = self._home(service, digest)
        home.mkdir(parents=True, exist_ok=True)
        path = home / f"{digest}.{_digest_of_content(file)}"
        os.chmod(file.name, 0o644)
        Path(file.name).rename(path)
        for other in home.glob(f"{digest}.*"):
            if other != path:
                other.unlink(missing_ok=True)
        self._sweep()

    def _home(self, service: str, digest: str) -> Path:
        return self.folder / service / digest[:2]

    def _sweep(self) -> None:
        """Remove what is too much, and what processes that died have left."""
        with _lock_if_free(self.folder / _SWEEP) as mine:
            if not mine:
                return
            entries = [
                (status.st_atime, status.st_size, path)
                for path in self.folder.glob("[!.]*/*/*")
                if (status := _status(path)) is not None
            ]
            surplus = sum(size for _, size, _ in entries) - self.limit
            if surplus > 0:
                surplus += _ROOM * self.limit
            for _, size, path in sorted(entries):
                if surplus <= 0:
                    break
                path.unlink(missing_ok=True)
                surplus -= size
            self._drop_abandoned()

    def _drop_abandoned(self) -> None:
        before = time.time() - _ABANDONED
        for name in (_INCOMING, _LOCKS):
            for path in (self.folder / name).glob("*"):
                status = _status(path)
                if status is not None and status.st_mtime < before:
                    with _lock_if_free(path) as mine:
                        if mine:
                            path.unlink(missing_ok=True)


@dataclass
class Fetch:
    """The right to fetch an answer, and what became of the attempt before.

    Attributes
    ----------
    failure : str
        Why who held the right before has failed.
    is_recent : bool
        Whether that was while we waited for it.
    failed : bool
        Whether this attempt has failed, too.
    """

    path: Path
    failure: str
    is_recent: bool
    failed: bool = False

    def fail(self, reason: str) -> None:
        """Tell those who wait."""
        self.path.write_text(reason, encoding="utf-8")
        self.failed = True


def _verified(path: Path) -> IO[bytes] | None:
    """The open file, if its content is what its name says."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    if _digest_of_content(file) == path.name.partition(".")[2]:
        return file
    file.close()
    return None


def _digest_of_key(service: str, key: str) -> str:
    return hashlib.blake2b(f"{service}\n{key}".encode(), digest_size=16).hexdigest()


def _digest_of_content(file: IO[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    file.seek(0)
    while block := file.read(_BLOCK):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()


def _touch(path: Path, modified: float) -> None:
    """Note that it was used now; when it was fetched stays as it is."""
    try:
        os.utime(path, (time.time(), modified))
    except OSError:
        return  # Read-only, or gone just now: it only goes a little earlier.


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


@contextmanager
def _lock_if_free(path: Path) -> Iterator[bool]:
    """Whether the lock could be had; it is held inside the context."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
