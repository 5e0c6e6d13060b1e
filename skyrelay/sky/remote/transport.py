"""How is one question put to a service until it answers, or until it is clear that it will not?

All addresses are tried in turn, then, after a pause, once more. Who says that the request itself
is wrong (most answers 4xx) is not asked again.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from skyrelay import episodes
from skyrelay.addresses import is_public
from skyrelay.errors import Permanent, Retriable
from skyrelay.settings import Settings
from skyrelay.sky.remote.answers import BadAnswer
from skyrelay.sky.remote.request import Request
from skyrelay.sky.remote.services import Service

_T = TypeVar("_T")
_USER_AGENT = "Skyrelay (python-requests)"
_CHUNK = 1 << 18
#: Answers 4xx that do not mean that the request is wrong.
_BUSY = {408, 425, 429}
_ABSENT = {404, 410}


class Absent(Permanent):
    """There is no such thing at the service."""


@dataclass(frozen=True)
class _Failure:
    """Why one address gave no answer; ``status`` of HTTP if it said that the request is wrong."""

    reason: str
    status: int | None = None

    @property
    def ending(self) -> episodes.Ending:
        """What it is counted as."""
        return episodes.Ending.FAILED if self.status is None else episodes.Ending.REFUSED


class _Elsewhere(requests.RequestException):
    """The answer leads to a machine that nobody has named, and that only we can reach."""


class _Session(requests.Session):
    """Follows an answer to the same place and to public addresses: a mirror is not ours."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None and not _may_follow(str(resp.url), urljoin(str(resp.url), target)):
            raise _Elsewhere
        return target


def _may_follow(asked: str, target: str) -> bool:
    if urlsplit(target).netloc == urlsplit(asked).netloc:
        return True
    try:
        found = socket.getaddrinfo(urlsplit(target).hostname, None, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    except (OSError, ValueError):
        return True  # We cannot reach it; if a proxy can, that decides for itself.
    return all(map(is_public, addresses))


class _TooLarge(Exception):
    """The answer is larger than anybody can use."""


def ask(
    service: Service,
    request: Request,
    read: Callable[[IO[bytes]], _T],
    into: IO[bytes],
    settings: Settings,
    log: Callable[..., object],
) -> _T:
    """Put the answer to a request into a named file and return what ``read`` makes of it.

    Parameters
    ----------
    read : callable
        Reads the whole answer and raises `BadAnswer` if it is not one.

    Raises
    ------
    Absent
        If the service has no such thing.
    Permanent
        If it says that the request is wrong, or its answer is too large.
    Retriable
        If no address answers properly.
    """
    addresses = service.addresses(settings)
    if not addresses:
        raise Permanent(f"No address is set for {service.title}: {service.instead}.")
    refused: set[str] = set()
    failures: list[_Failure] = []
    for pause in (0.0, *settings.skyrelay_ask_again):
        time.sleep(pause)
        for address in addresses:
            if address in refused:
                continue
            with episodes.timed(episodes.Kind.SKY, service.name) as course:
                failure = _try(address, service, request, into, settings)
                course.size = into.tell()
                if failure is None:
                    try:
                        with Path(into.name).open("rb") as file:
                            return read(file)
                    except BadAnswer as error:
                        failure = _Failure(f"it sent {error}")
                course.ending = failure.ending
            log(f"{service.title} at {address}: {failure.reason}")
            failures.append(failure)
            if failure.status is not None:
                refused.add(address)
        if len(refused) == len(set(addresses)):
            break
    raise _verdict(service, failures, refused, addresses)


def _verdict(
    service: Service, failures: list[_Failure], refused: set[str], addresses: list[str]
) -> Exception:
    last = failures[-1]
    if len(refused) < len(set(addresses)):
        return Retriable(f"{service.subject} does not answer ({last.reason}); {service.instead}.")
    if all(failure.status in _ABSENT for failure in failures if failure.status is not None):
        return Absent(f"{service.subject} has no such thing ({last.reason}); {service.instead}.")
    return Permanent(
        f"{service.subject} does not accept the request ({last.reason}); {service.instead}."
    )


def _try(
    address: str, service: Service, request: Request, into: IO[bytes], settings: Settings
) -> _Failure | None:
    """Ask one address once; None if its answer is in the file, as far as HTTP can tell."""
    url = f"{address}/{request.path}" if request.path else address
    into.seek(0)
    into.truncate()
    deadline = time.monotonic() + settings.skyrelay_answer_timeout
    try:
        with (
            _Session() as session,
            session.request(
                request.method,
                url,
                params=request.params or None,
                data=request.data,
                files=request.files or None,
                json=request.document,
                headers={"User-Agent": _USER_AGENT},
                timeout=(settings.skyrelay_connect_timeout, settings.skyrelay_read_timeout),
                stream=True,
            ) as answer,
        ):
            if answer.status_code >= 400:
                return _refusal(answer.status_code)
            _receive(answer, into, service.largest, deadline)
    except _TooLarge:
        raise Permanent(
            f"The answer of {service.title} is larger than {service.largest >> 20} MiB; "
            "ask for less, as with a brighter cat_limit or a smaller image."
        ) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        return _Failure(_in_words(error))
    return None


def _receive(answer: requests.Response, into: IO[bytes], largest: int, deadline: float) -> None:
    """Copy the body as it comes: a reader of whole blocks would not notice that it only drips."""
    received = 0
    while chunk := answer.raw.read1(_CHUNK, decode_content=True):
        received += len(chunk)
        if received > largest:
            raise _TooLarge
        if time.monotonic() > deadline:
            raise requests.Timeout("the answer takes too long")
        into.write(chunk)
    into.flush()


def _refusal(status: int) -> _Failure:
    wrong = 400 <= status < 500 and status not in _BUSY
    return _Failure(f"HTTP status {status}", status if wrong else None)


def _in_words(error: Exception) -> str:
    """What went wrong, without addresses of memory and other noise."""
    if isinstance(error, _Elsewhere):
        return "it sends us on to an address that is not public"
    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError) or isinstance(
        error, urllib3.exceptions.ProtocolError
    ):
        return "the connection was cut"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__
