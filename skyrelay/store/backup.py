"""How are the files of all tasks copied while stages publish and users upload?

A program that walks through the store reads a task's link at one moment and the version that it
names at another, when that may be gone. So each task is cloned by hard links, under its lock, and
the clone is read at leisure. What is written is a whole store again, as a tar archive.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from skyrelay.store import files
from skyrelay.store.presence import MARK, StoreAway, check
from skyrelay.store.tasks import FOLDERS, LOCKS, VERSIONS, TaskStore

#: The clone of one task, while it is read; and the lock on it.
_CLONE = ".backup"
#: Bytes that are copied at once.
_PIECE = 1 << 20


class BackupBusy(Exception):
    """Another process writes an archive of the same store."""


def write_archive(store: TaskStore, out: IO[bytes]) -> dict[int, OSError]:
    """Write a tar archive with the files of all tasks; those that cannot be had, and why.

    The mark of the store is the last entry: half an archive makes no store. Each version gets a
    new name: in a store that is in use it replaces another, and is not mixed with what that has
    become since.

    Raises
    ------
    BackupBusy
        If somebody else does the same.
    StoreMissing
        If the store is away.
    OSError
        If ``out`` cannot be written, or a file cannot be read to its end.
    """
    check(store.root)
    lost = {}
    with _clone_for_us(store) as clone:
        for folder in FOLDERS:
            _write_entry(out, store.root / folder, folder)
        for task in store.tasks():
            try:
                store.clone(task, clone)
            except StoreAway:
                raise
            except OSError as error:
                # Else it was deleted meanwhile.
                if os.path.lexists(store.folder(task)):
                    lost[task] = error
            else:
                version = f"{VERSIONS}/{store.new_version(task).name}"
                _write_tree(out, clone, version)
                _write_link(out, version, str(task))
            files.remove(clone)
    _write_entry(out, store.root / MARK, MARK)
    out.write(bytes(2 * tarfile.BLOCKSIZE))
    out.flush()
    return lost


@contextmanager
def _clone_for_us(store: TaskStore) -> Iterator[Path]:
    """The place of a clone that is not there yet; what is left of it is removed."""
    clone = store.root / _CLONE
    with (store.root / LOCKS / _CLONE).open("wb") as lock:
        if not files.lock_byte(lock.fileno(), 0):
            raise BackupBusy
        # Of one that was killed.
        files.remove(clone)
        try:
            yield clone
        finally:
            files.remove(clone)


def _write_tree(out: IO[bytes], folder: Path, name: str) -> None:
    _write_entry(out, folder, name)
    for entry in sorted(os.listdir(folder)):
        path = folder / entry
        write = _write_tree if path.is_dir() else _write_entry
        write(out, path, f"{name}/{entry}")


def _write_entry(out: IO[bytes], path: Path, name: str) -> None:
    """A file, or a folder without what is in it."""
    if path.is_dir():
        _write_header(out, name, tarfile.DIRTYPE, path.stat())
        return
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        _write_header(out, name, tarfile.REGTYPE, status, status.st_size)
        shutil.copyfileobj(file, out, _PIECE)
        if file.tell() != status.st_size:
            raise OSError(f"{path} has changed while it was read")
    out.write(bytes(-status.st_size % tarfile.BLOCKSIZE))


def _write_header(
    out: IO[bytes], name: str, kind: bytes, status: os.stat_result, size: int = 0
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = kind, size
    entry.mode, entry.mtime = status.st_mode & 0o7777, int(status.st_mtime)
    entry.uid, entry.gid = status.st_uid, status.st_gid
    out.write(_bytes_of(entry))


def _write_link(out: IO[bytes], target: str, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    out.write(_bytes_of(entry))


def _bytes_of(entry: tarfile.TarInfo) -> bytes:
    # A `TarFile` would keep the entries of all tasks in memory.
    # Names of files are any bytes.
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
