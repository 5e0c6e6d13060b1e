"""Where on the sky does a client mean: coordinates in any notation, or the name of an object?

Names are looked up as the stages do it, with the same cache and mirrors, but with little patience:
somebody waits, and a thread that answers others does, too.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from pathlib import Path
from typing import Annotated

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway.api import query
from gateway.api.errors import invalid, refused, try_again
from gateway.api.waiting import room_to_wait
from gateway.current import gateway
from gateway.openapi import documented
from skyrelay.errors import Permanent, Retriable
from skyrelay.settings import Settings

blueprint = Blueprint("places", __name__)

_log = logging.getLogger(__name__)

#: Names that one process looks up at once; the other threads answer whoever asks for anything else.
_AT_ONCE = threading.BoundedSemaphore(3)
#: Seconds in which an answer must be there, and for a connection; nothing is asked again.
_PATIENCE = 10.0
_HASTE = {
    "skyrelay_connect_timeout": 3.0,
    "skyrelay_read_timeout": _PATIENCE,
    "skyrelay_answer_timeout": _PATIENCE,
    "skyrelay_ask_again": (),
}
_LONGEST = 200

Position = Annotated[
    str,
    Field(
        description="Coordinates (deg, or hours and deg), perhaps a radius (deg), or a name.",
        examples=["13:29:52.7 +47:11:43"],
    ),
]


class _Named(TypedDict):
    name: Annotated[str, Field(description="Or coordinates.", examples=["M 51"])]


class _Place(TypedDict):
    name: Annotated[str, Field(examples=["M 51"])]
    ra: Annotated[float, Field(description="deg, ICRS", examples=[202.47])]
    dec: Annotated[float, Field(description="deg, ICRS", examples=[47.2])]
    radius: Annotated[float | None, Field(description="deg, where one was given", examples=[None])]


@blueprint.get("/resolve/")
@documented({200: _Place}, query=_Named, errors=(400, 502))
def resolve() -> ResponseReturnValue:
    """Where an object is, by its name: of Simbad, NED, VizieR, or the Transient Name Server."""
    ra, dec, radius = place("name")
    return jsonify({"name": query.text("name").strip(), "ra": ra, "dec": dec, "radius": radius})


def place(field: str) -> tuple[float, float, float | None]:
    """Right ascension, declination and radius (degrees, ICRS) that the query says in ``field``.

    Raises
    ------
    ApiError
        400 if it says nothing that is known here, 502 if those who might know do not answer, 503 if
        too many ask just now.
    """
    text = query.text(field, _LONGEST).strip()
    if not text or not text.isprintable():
        raise invalid(**{field: "Write coordinates, or the name of an object."})
    from skyrelay.sky.targets import parse_circle  # It takes a second, and few requests need it.

    try:
        return parse_circle(text) or (*_looked_up_in_turn(text), None)
    except Permanent as error:
        raise invalid(**{field: str(error)}) from error
    except Retriable as error:
        raise refused(502, str(error)) from error


def _looked_up_in_turn(name: str) -> tuple[float, float]:
    with room_to_wait() as may_wait:
        if not may_wait or not _AT_ONCE.acquire(timeout=_PATIENCE):
            raise try_again("Too many names are looked up now; try again in a moment.")
        try:
            return _looked_up(name)
        finally:
            _AT_ONCE.release()


def _looked_up(name: str) -> tuple[float, float]:
    from skyrelay.sky.names import position_of
    from skyrelay.sky.remote import Remote

    settings: Settings = gateway().settings
    hasty = settings.model_copy(update=_HASTE)
    with tempfile.TemporaryDirectory() as folder:
        remote = Remote(hasty, settings.skyrelay_offline, Path(folder), _log.info)
        return position_of(remote, name)
