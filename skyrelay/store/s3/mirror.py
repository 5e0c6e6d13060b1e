"""How do the files of a manifest come to this machine, and how do a stage's files leave it?

What was loaded once is shared by hard links, as versions of a folder are in a local store. A file
whose size and time are those of the manifest that it came with is the same object still, and is
not sent again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from skyrelay.store import files
from skyrelay.store.attempt import RESERVED_PREFIX
from skyrelay.store.s3.bucket import Bucket
from skyrelay.store.s3.manifest import Manifest, StoredFile

#: The manifest that a folder on this machine was filled from.
ORIGIN = f"{RESERVED_PREFIX}-manifest.json"


def origin_of(folder: Path) -> Manifest | None:
    """The manifest that the folder was filled from, if it was."""
    try:
        return Manifest.model_validate_json((folder / ORIGIN).read_bytes())
    except FileNotFoundError:
        return None


def name_origin(folder: Path, manifest: Manifest) -> None:
    """Say which manifest the folder is filled from."""
    files.write_atomically(folder / ORIGIN, manifest.model_dump_json().encode(), sync=False)


def fetch(
    bucket: Bucket, manifest: Manifest, names: Iterable[str], folder: Path, incoming: Path
) -> None:
    """Load those of the files that ``folder`` has not; each appears whole."""
    for name in names:
        path, stored = folder / name, manifest.files[name]
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        arriving = incoming / secrets.token_hex(8)
        try:
            bucket.download(stored.key, arriving, stored.size)
            os.utime(arriving, ns=(stored.modified, stored.modified))
            arriving.replace(path)
        finally:
            arriving.unlink(missing_ok=True)


def share(old: Path, folder: Path, manifest: Manifest) -> None:
    """Give ``folder`` those files that are on this machine as part of an older version."""
    before = origin_of(old)
    for name, stored in (before.files if before else {}).items():
        if manifest.files.get(name) == stored and (old / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            # Another process may drop the old version, if it was not asked for lately.
            with suppress(FileNotFoundError):
                files.link_or_copy_once(old / name, folder / name)


def send(
    bucket: Bucket, folder: Path, place: str, *, keep: tuple[str, ...], only: set[str] | None = None
) -> dict[str, StoredFile]:
    """Upload the files of ``folder`` below the key ``place``; what they are stored as.

    Objects whose keys begin with one of ``keep`` last as long as what is made here, and are used
    again. With ``only`` these files alone, of those that are there.
    """
    before = origin_of(folder)
    token = secrets.token_hex(8)
    sent = {}
    for path, name in _files(folder):
        if name == ORIGIN or (only is not None and name not in only):
            continue
        status = path.stat()
        known = before.files.get(name) if before else None
        if known and known.key.startswith(keep) and _is_same(known, status):
            sent[name] = known
            continue
        key = f"{place}/{token}/{name}"
        bucket.upload(path, key)
        sent[name] = StoredFile(key=key, size=status.st_size, modified=status.st_mtime_ns)
    return sent


def _files(folder: Path) -> Iterable[tuple[Path, str]]:
    for path, _, names in os.walk(folder):
        for name in names:
            file = Path(path, name)
            # A symbolic link could lead out of the folder.
            if file.is_file() and not file.is_symlink():
                yield file, file.relative_to(folder).as_posix()


def _is_same(stored: StoredFile, status: os.stat_result) -> bool:
    return (stored.size, stored.modified) == (status.st_size, status.st_mtime_ns)
