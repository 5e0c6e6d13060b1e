"""What does a client say in the query of its request?"""

from __future__ import annotations

import math
from urllib.parse import urlencode

from flask import request

from gateway.api.errors import invalid
from gateway.measurements.products import mjd
from gateway.models import LARGEST_ID

#: The largest number that both databases take as an offset.
LARGEST_OFFSET = 2**62
_WORDS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


def text(name: str, longest: int = 1000) -> str:
    """A text of the query; empty if it is not there."""
    found = request.args.get(name, "")
    if "\x00" in found:
        raise invalid(**{name: "Null characters are not allowed."})
    if len(found) > longest:
        raise invalid(**{name: f"Ensure this value has no more than {longest} characters."})
    return found


def number(
    name: str, *, least: float = -math.inf, most: float = math.inf, default: float | None = None
) -> float | None:
    """A number of the query, within bounds.

    Raises
    ------
    ApiError
        400 if it is no number or out of bounds.
    """
    found = text(name)
    return bounded(name, found, least, most) if found else default


def bounded(name: str, given: str | float, least: float, most: float) -> float:
    """The number that was given as ``name``, within bounds; raises what `number` raises."""
    try:
        value = float(given)
    except ValueError:
        raise invalid(**{name: "A number is required."}) from None
    if not math.isfinite(value) or not least <= value <= most:
        raise invalid(**{name: f"It must lie between {least:g} and {most:g}."})
    return value


def integer(name: str, *, least: int, most: int, default: int) -> int:
    """A whole number of the query, within bounds; raises what `number` raises."""
    found = text(name)
    if not found:
        return default
    try:
        value = int(found)
    except ValueError:
        raise invalid(**{name: "A whole number is required."}) from None
    if not least <= value <= most:
        raise invalid(**{name: f"It must lie between {least} and {most}."})
    return value


def before() -> int | None:
    """The number before which a page of a list begins; None for the first page."""
    found = integer("before", least=0, most=LARGEST_ID, default=-1)
    return None if found < 0 else found


def flag(name: str, *, default: bool = False) -> bool:
    """Whether the query says yes to this.

    Raises
    ------
    ApiError
        400 if it says neither yes nor no.
    """
    found = text(name).lower()
    if found and found not in _WORDS:
        raise invalid(**{name: f"Take one of {', '.join(_WORDS)}."})
    return _WORDS[found] if found else default


def moment(name: str) -> float | None:
    """A moment of the query, as MJD: given so, or as ISO 8601 in UTC."""
    found = text(name)
    if not found:
        return None
    try:
        value = float(found)
    except ValueError:
        converted = mjd(found)
        if converted is None:
            raise invalid(**{name: "Write a moment as MJD or as 2026-01-31T23:59:59."}) from None
        return converted
    if not math.isfinite(value):
        raise invalid(**{name: "A number is required."})
    return value


def page(limit: int, offset: int) -> str:
    """The address of another page of the present request's list."""
    kept = [
        (name, value)
        for name, value in request.args.items(multi=True)
        if name not in ("limit", "offset")
    ]
    return f"{request.base_url}?{urlencode([*kept, ('limit', limit), ('offset', offset)])}"


def neighbours(limit: int, offset: int, count: int) -> dict[str, str | None]:
    """The addresses of the pages before and after this one of a list with ``count`` entries."""
    return {
        "next": page(limit, offset + limit) if offset + limit < count else None,
        "previous": page(limit, max(0, offset - limit)) if offset > 0 else None,
    }
