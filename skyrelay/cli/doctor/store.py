"""Can the folder, or the bucket, of the tasks do what the store stands on?"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from skyrelay.cli.doctor.finding import Finding, Health
from skyrelay.settings import Settings
from skyrelay.store.files import lock_byte
from skyrelay.store.presence import StoreMissing, check

# Whoever has a folder need not wait for boto3.
if TYPE_CHECKING:
    from skyrelay.store.s3.bucket import Bucket

#: Part of the store that should be free, as the alert has it.
ROOM = 0.1
#: Bytes that travel to S3 in more than one part.
_LARGE = 17 * 1024**2


def folder(settings: Settings) -> Iterator[Finding]:
    """TASKS_PATH: links, locks, room; and DATA_PATH."""
    root = settings.tasks_path
    try:
        with TemporaryDirectory(prefix=".doctor-", dir=root) as place:
            _try_links(Path(place))
            locks = _locks_exclude(Path(place))
        room = shutil.disk_usage(root)
        if not settings.tasks_url:
            check(root)
    except StoreMissing as error:
        yield Finding(Health.BAD, "store", f"{error}; mount it, or start the gateway")
        return
    except OSError as error:
        said = f"{error}; TASKS_PATH must be writable, with hard and symbolic links, and locks"
        yield Finding(Health.BAD, "store", said)
        return
    if not locks:
        said = f"{root} gives one lock to two; mount it with locks (NFS 4), or two may work at once"
        yield Finding(Health.BAD, "store", said)
    free = room.free / room.total
    said = f"{root}, {free:.0%} of {room.total / 1024**3:.0f} GiB free"
    if free < ROOM:
        yield Finding(Health.BAD, "store", f"{said}; make room")
    else:
        yield Finding(Health.GOOD, "store", said)
    if not settings.data_path.is_dir():
        yield Finding(Health.NOTE, "data", f"there is no folder {settings.data_path} (DATA_PATH)")


def _try_links(place: Path) -> None:
    (place / "file").write_text("x")
    (place / "hard").hardlink_to(place / "file")
    (place / "symbolic").symlink_to("file")
    (place / "symbolic").rename(place / "renamed")


def _locks_exclude(place: Path) -> bool:
    """Whether a lock that one has is refused to another one."""
    path = place / "lock"
    first, second = (os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for _ in range(2))
    try:
        return lock_byte(first, 0) and not lock_byte(second, 0)
    finally:
        os.close(first)
        os.close(second)


def bucket(settings: Settings) -> Iterator[Finding]:
    """TASKS_URL, if there is one: conditional writes, and files in parts."""
    if not settings.tasks_url:
        return
    from skyrelay.store.s3.bucket import Bucket

    try:
        opened = Bucket(settings.tasks_url)
    except ValueError as error:
        yield Finding(Health.BAD, "bucket", f"{error}; look at TASKS_URL")
        return
    if not opened.answers():
        said = f"{settings.tasks_url} does not answer; look at TASKS_URL and the variables of AWS"
        yield Finding(Health.BAD, "bucket", said)
        return
    prefix = f".doctor-{secrets.token_hex(8)}"
    try:
        problem = _try_conditions(opened, f"{prefix}/small") or _try_parts(
            opened, f"{prefix}/large", settings.tasks_path
        )
        opened.delete([f"{prefix}/small", f"{prefix}/large"])
    except OSError as error:
        problem = f"{error}; look at the rights on the bucket (docs/operations/storage.md)"
    if problem:
        yield Finding(Health.BAD, "bucket", f"{settings.tasks_url}: {problem}")
    else:
        said = f"{settings.tasks_url}, with conditional writes and parts"
        yield Finding(Health.GOOD, "bucket", said)


def _try_conditions(opened: Bucket, key: str) -> str:
    """What is wrong with conditional writes; empty if nothing is."""
    from skyrelay.store.s3.bucket import Conflict

    first = opened.put_after(key, b"first", None)
    opened.put_after(key, b"second", first)
    for condition, etag in (("If-None-Match", None), ("If-Match", first)):
        try:
            opened.put_after(key, f"late, {condition}".encode(), etag)
        except Conflict:
            continue
        return f"the server does not keep {condition}: two may publish at once; use another one"
    return ""


def _try_parts(opened: Bucket, key: str, scratch: Path) -> str:
    """What is wrong with files in parts; empty if nothing is."""
    with TemporaryDirectory(prefix=".doctor-", dir=scratch) as place:
        source, copy = Path(place) / "source", Path(place) / "copy"
        source.write_bytes(os.urandom(1024) * (_LARGE // 1024))
        opened.upload(source, key)
        opened.download(key, copy, _LARGE)
        if copy.read_bytes() != source.read_bytes():
            return "a file sent in parts comes back as another one"
    return ""
