"""How do others follow what a stage says while it works on another machine?

By an object beside the attempt's claim that is written anew every few seconds, if there is news.
Nobody relies on it: it goes with the run, and the log as such is published with the products.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skyrelay.store.s3.bucket import Bucket

_log = logging.getLogger(__name__)

#: Seconds between two looks; each costs a small request at most.
_PAUSE = 2.0
#: Bytes of a log that are sent; the rest comes with the products.
_MOST = 1024 * 1024


@contextmanager
def sent_as_it_grows(path: Path, bucket: Bucket, key: str) -> Iterator[None]:
    """Inside this context the object under ``key`` follows the beginning of the file."""
    ended = threading.Event()
    thread = threading.Thread(target=_follow, args=(path, bucket, key, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        # A late write would outlive the run.
        thread.join()


def _follow(path: Path, bucket: Bucket, key: str, ended: threading.Event) -> None:
    sent = b""
    while not ended.wait(_PAUSE):
        try:
            with path.open("rb") as file:
                said = file.read(_MOST)
            if said != sent:
                bucket.put(key, said)
                sent = said
        except FileNotFoundError:
            continue  # It has said nothing so far.
        except OSError as error:
            _log.warning("the log cannot be shown to others: %s", error)
