"""Where on the sky is the object with this name?

Sesame asks Simbad, NED and VizieR. The names of transients, which are not in there for years, are
looked up in Fink's copy of the Transient Name Server.
"""

from __future__ import annotations

import json
import re
from typing import IO, Any
from urllib.parse import quote

from skyrelay.errors import Permanent, Retriable
from skyrelay.sky.remote import Absent, BadAnswer, Offline, Remote, Request
from skyrelay.sky.remote.services import SESAME, TRANSIENTS

#: Simbad, NED and VizieR, in this order.
_DATABASES = "SNV"
_POSITION = re.compile(r"^%J\s*([\d.]+)\s*([-+]?[\d.]+)[ \t].*\n", re.MULTILINE)
_ENDED = re.compile(r"Nothing found|^#====Done", re.MULTILINE)
_TRANSIENT = re.compile(r"^(AT|SN)\s*(\d{4}\s*[A-Za-z]+)$")


class _Unknown(Permanent):
    """The service answers, and does not know the name."""


def position_of(remote: Remote, name: str) -> tuple[float, float]:
    """Right ascension and declination in degrees (ICRS).

    Raises
    ------
    Permanent
        If the name is unknown.
    Retriable
        If no resolver answers that could know it.
    """
    silent: Retriable | Permanent | None = None
    for resolver in (_sesame, _transients):
        try:
            return resolver(remote, name)
        except (_Unknown, Absent):
            continue
        except (Offline, Retriable) as error:
            silent = silent or error
    if silent is not None:
        raise type(silent)(f"The position of '{name}' cannot be looked up: {silent}")
    raise Permanent(f"The target '{name}' is unknown; give its coordinates instead.")


def _sesame(remote: Remote, name: str) -> tuple[float, float]:
    return remote.fetch(SESAME, Request(path=f"{_DATABASES}?{quote(name)}"), _position)


def _position(file: IO[bytes]) -> tuple[float, float]:
    text = file.read().decode("utf-8", "replace")
    if match := _POSITION.search(text):
        return float(match[1]), float(match[2])
    if _ENDED.search(text):
        raise _Unknown("Sesame does not know the name")
    raise BadAnswer("no position, and not that there is none")


def _transients(remote: Remote, name: str) -> tuple[float, float]:
    match = _TRANSIENT.match(name)
    if match is None:
        raise _Unknown("this is no name of a transient")
    official = f"{match[1]} {match[2].replace(' ', '')}"
    query = {"resolver": "tns", "name": official}
    try:
        return remote.fetch(TRANSIENTS, Request(document=query), _first_row)
    except _Unknown:
        # Also by the names that surveys have given it.
        return remote.fetch(TRANSIENTS, Request(document=query | {"reverse": True}), _first_row)


def _first_row(file: IO[bytes]) -> tuple[float, float]:
    try:
        rows: Any = json.load(file)
    except ValueError:
        raise BadAnswer("no JSON") from None
    if not isinstance(rows, list):
        raise BadAnswer("no list")
    if not rows:
        raise _Unknown("there is no such transient")
    try:
        return float(rows[0]["d:ra"]), float(rows[0]["d:declination"])
    except (KeyError, TypeError, ValueError):
        raise BadAnswer("a list without positions") from None
