"""How is S3 asked, and what does it promise about two who write at the same time?

boto3 and not s3fs: the store stands on conditional writes and presigned addresses, which s3fs does
not pass on. Where the server is, whom it trusts and who we are, boto3 reads from AWS's own
variables (``AWS_ENDPOINT_URL``, ``AWS_CA_BUNDLE``, ``AWS_ACCESS_KEY_ID`` ...).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError

from skyrelay.store.presence import StoreAway
from skyrelay.store.s3 import clock

#: Tries of a request. boto3's pauses double from 50 ms to 20 s, and each is a random share of that:
#: half a minute in all, in which a server may restart.
_TRIES = 12
#: Seconds to reach the server, and without a byte from it.
_CONNECT, _READ = 5, 60
#: Bytes from which a file travels in parts, and of each part.
_PART = 16 * 1024 * 1024
#: Parts of a file under way at once.
_PARTS_AT_ONCE = 4
#: Keys that one request may delete.
_DELETED_AT_ONCE = 1000
#: Seconds for which an address given to a client is good.
_PRESIGNED = 3600

_MISSING = {"404", "NoSuchKey", "NotFound"}
_CONFLICT = {"412", "409", "PreconditionFailed", "ConditionalRequestConflict"}


class Conflict(Exception):
    """Somebody else has written the object in the meantime."""


@dataclass(frozen=True)
class Found:
    """A small object; ``age``: seconds since it was written, by the server's own clock."""

    body: bytes
    etag: str
    age: float


@dataclass(frozen=True)
class Listed:
    """What a listing says of an object; the key is relative to the store."""

    key: str
    modified: datetime


class Bucket:
    """The objects below ``s3://bucket/prefix``, by keys relative to it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc:
            raise ValueError(f"'{url}' is not an address like s3://bucket/prefix")
        self._name = parts.netloc
        folder = parts.path.strip("/")
        self._prefix = f"{folder}/" if folder else ""
        self._clients: dict[tuple[int, int], Any] = {}

    @property
    def _client(self) -> Any:
        """One for each process and native thread: where threads are green, locks are theirs."""
        owner = os.getpid(), threading.get_native_id()
        if owner not in self._clients:
            self._forget_ended_threads()
            self._clients[owner] = client = boto3.session.Session().client(
                "s3",
                config=Config(
                    signature_version="s3v4",
                    retries={"mode": "standard", "total_max_attempts": _TRIES},
                    connect_timeout=_CONNECT,
                    read_timeout=_READ,
                ),
            )
            clock.watch(client)
        return self._clients[owner]

    def _forget_ended_threads(self) -> None:
        """Drop their clients: each attempt has threads of its own, and a client is megabytes."""
        for process, thread in list(self._clients):
            if process != os.getpid() or not Path(f"/proc/self/task/{thread}").exists():
                self._clients.pop((process, thread), None)

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._name, "Key": self._prefix + key}

    def find(self, key: str) -> Found | None:
        """A small object, if it is there."""
        try:
            with _errors():
                answer, body = self._read(key)
        except FileNotFoundError:
            return None
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return Found(body, answer["ETag"], (now - answer["LastModified"]).total_seconds())

    def _read(self, key: str) -> tuple[Any, bytes]:
        """The answer and its body; boto3 itself does not ask again for a body that is cut."""
        for _ in range(_TRIES - 1):
            answer = self._client.get_object(**self._named(key))
            with suppress(HTTPClientError, IncompleteReadError):
                return answer, answer["Body"].read()
        answer = self._client.get_object(**self._named(key))
        return answer, answer["Body"].read()

    def get(self, key: str) -> Found:
        """A small object; FileNotFoundError if it is not there."""
        found = self.find(key)
        if found is None:
            raise FileNotFoundError(key)
        return found

    def put(self, key: str, body: bytes) -> None:
        """Write a small object, whatever is there."""
        with _errors():
            self._client.put_object(**self._named(key), Body=body)

    def put_after(self, key: str, body: bytes, etag: str | None) -> str:
        """Write a small object if the one of this ETag is still there (None: if none is).

        The body must be unlike any other ever written under the key: so we know our own write
        again when the answer to it was lost and the second try of it finds the first.

        Raises
        ------
        Conflict
            If somebody else was faster.
        """
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            with _errors():
                answer = self._client.put_object(**self._named(key), Body=body, **condition)
        except (Conflict, FileNotFoundError) as error:
            there = self.find(key)
            if there is not None and there.body == body:
                return there.etag
            raise Conflict(key) from error
        return str(answer["ETag"])

    def upload(self, path: Path, key: str) -> None:
        """Write a file of any size, in parts if it is large."""
        with _errors():
            if path.stat().st_size < _PART:
                self._client.put_object(**self._named(key), Body=path.read_bytes())
                return
            self._client.upload_file(str(path), self._name, self._prefix + key, Config=_transfer())

    def download(self, key: str, path: Path, size: int) -> None:
        """Read an object of this size into a file."""
        with _errors():
            if size < _PART:
                path.write_bytes(self.get(key).body)
                return
            self._client.download_file(
                self._name, self._prefix + key, str(path), Config=_transfer()
            )

    def copy(self, source: str, key: str) -> None:
        """Copy an object of any size without it passing through here."""
        with _errors():
            self._client.copy(
                self._named(source), self._name, self._prefix + key, Config=_transfer()
            )

    def delete(self, keys: list[str]) -> None:
        """Remove objects; those that are not there are no error."""
        for begin in range(0, len(keys), _DELETED_AT_ONCE):
            chunk = [{"Key": self._prefix + key} for key in keys[begin : begin + _DELETED_AT_ONCE]]
            with _errors():
                answer = self._client.delete_objects(
                    Bucket=self._name, Delete={"Objects": chunk, "Quiet": True}
                )
            if answer.get("Errors"):
                raise StoreAway(f"S3 does not delete: {answer['Errors'][0].get('Message')}")

    def listing(self, prefix: str) -> Iterator[Listed]:
        """The objects whose keys begin so, by key."""
        pages = self._client.get_paginator("list_objects_v2")
        with _errors():
            for page in pages.paginate(Bucket=self._name, Prefix=self._prefix + prefix):
                for item in page.get("Contents", ()):
                    key = item["Key"].removeprefix(self._prefix)
                    yield Listed(key, item["LastModified"])

    def answers(self) -> bool:
        """Whether the bucket can be read now."""
        try:
            with _errors():
                self._client.list_objects_v2(Bucket=self._name, Prefix=self._prefix, MaxKeys=1)
        except OSError:
            return False
        return True

    def now(self) -> float:
        """The time by the server's clock, whole seconds since 1970."""
        with _errors():
            answer = self._client.list_objects_v2(Bucket=self._name, Prefix=self._prefix, MaxKeys=1)
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()

    def address(self, key: str, name: str) -> str:
        """A presigned address from which anybody may load the object for an hour."""
        disposition = f"attachment; filename*=UTF-8''{quote(name)}"
        with _errors():
            return str(
                self._client.generate_presigned_url(
                    "get_object",
                    Params={**self._named(key), "ResponseContentDisposition": disposition},
                    ExpiresIn=_PRESIGNED,
                )
            )

    def abort_uploads(self, before: datetime) -> None:
        """Drop the parts of uploads whose process died, begun before this moment."""
        pages = self._client.get_paginator("list_multipart_uploads")
        with _errors():
            for page in pages.paginate(Bucket=self._name, Prefix=self._prefix):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < before:
                        self._client.abort_multipart_upload(
                            Bucket=self._name, Key=upload["Key"], UploadId=upload["UploadId"]
                        )


def _transfer() -> TransferConfig:
    return TransferConfig(
        multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=_PARTS_AT_ONCE
    )


@contextmanager
def _errors() -> Iterator[None]:
    """What boto3 raises, in words that all stores have."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        if code in _MISSING:
            raise FileNotFoundError(str(error)) from error
        if code in _CONFLICT:
            raise Conflict(str(error)) from error
        raise StoreAway(f"S3 does not do it: {error}") from error
    except (BotoCoreError, HTTPClientError, boto3.exceptions.Boto3Error) as error:
        raise StoreAway(f"S3 does not answer: {error}") from error
