"""Which operations on files are atomic, and how are they put together?"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import struct
import subprocess
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from skyrelay.errors import comes_from

#: What a file system without hard links answers.
_NO_LINKS = {errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}

#: Names in one command line.
_AT_ONCE = 500

#: What a file system without room, or a user without quota, answers.
_FULL = {errno.ENOSPC, errno.EDQUOT}


def is_full(error: BaseException | None) -> bool:
    """Whether the error, or what it comes from, is that there is no room left."""
    return comes_from(error, _FULL)


def write_atomically(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write ``data`` so that a reader sees either the old content or all of the new.

    With ``sync`` that holds also after a power failure; without, after a crash of the process.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def size_of_tree(folder: Path) -> int:
    """Bytes of all files in ``folder``; what goes away in the meantime counts nothing."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def sync_tree(folder: Path) -> None:
    """Have the disk take all that is new in ``folder``, so that a power failure spares it.

    Files with a second name are those that were there before: see `clone_tree`.
    """
    for path, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(path, name)
            if os.stat(file).st_nlink == 1:
                _sync(file)
        _sync(path)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_or_copy_once(source: Path, path: Path) -> None:
    """Make ``path`` another name of the file ``source``, unless it is there already."""
    with suppress(FileExistsError):
        _link_or_copy(str(source), path)


def link_or_copy_atomically(source: Path, path: Path) -> None:
    """Make ``path`` another name of the file ``source``, or a copy where there are no links."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}")
    try:
        _link_or_copy(str(source), temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def link_atomically(target: str, link: Path) -> None:
    """Make the symbolic link ``link`` point to ``target``, replacing the one that is there."""
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(4)}")
    temporary.symlink_to(target)
    try:
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def target_of(link: Path) -> Path:
    """What a symbolic link points to; the path itself if it is none."""
    try:
        return link.parent / os.readlink(link)
    except OSError:
        return link


def make_folder(path: Path) -> bool:
    """Make a folder in one that is there; False if it is there itself."""
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


def clone_tree(source: Path, target: Path, names: Set[str] | None = None) -> None:
    """Make ``target`` a copy of the folder ``source`` that shares its files by hard links.

    ``names``: only these, of what is at its top.

    Files are copied where the file system has no hard links. Symbolic links are left out: they
    could lead out of the task's folder.
    """
    target.mkdir(parents=True)
    for entry in os.scandir(source):
        if entry.is_symlink() or (names is not None and entry.name not in names):
            continue
        if entry.is_dir():
            clone_tree(Path(entry.path), target / entry.name)
        elif entry.is_file():
            _link_or_copy(entry.path, target / entry.name)


def _link_or_copy(source: str, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy2(source, target)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; what is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def empty(folder: Path) -> None:
    """Remove all that is in ``folder``; in a process of its own, for there may be very much."""
    while names := os.listdir(folder)[:_AT_ONCE]:
        subprocess.run(["rm", "-rf", "--", *names], cwd=folder, check=False)
        if names == os.listdir(folder)[:_AT_ONCE]:
            return  # Somebody still writes there, or we may not; there will be a next time.


def throw_away(path: Path, trash: Path) -> None:
    """Out of sight at once, into the folder ``trash``: to remove all of it may take long.

    What is not there is no error.
    """
    with suppress(FileNotFoundError):
        path.rename(trash / secrets.token_hex(8))


def lock_byte(descriptor: int, number: int) -> bool:
    """Lock one byte of an open file, be it beyond its end; False if somebody else has it.

    The lock belongs to the open file, as one of `flock` does, and not to the process: the kernel
    frees it when the last process that has the file open has closed it or died.
    """
    request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, request)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file ``path``; the kernel frees it if the process dies.

    Who holds the lock may remove its file as the last thing: those who wait lock the next one.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_file_at(path, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def _is_file_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
