"""What do the headers of a FITS file say?"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skyrelay.imaging.fits_structure import raw_headers

#: Bytes of headers that are shown: thirteen thousand cards.
_MOST = 1024 * 1024


def read_headers(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The headers of all extensions, and whether these are all that there is.

    Each says its index, name, kind (image, packed image, table, or empty), shape as numpy has it,
    and its cards: keyword, value, comment.

    Raises
    ------
    OSError
        If the file cannot be read at all.
    """
    raw, complete = raw_headers(path, _MOST)
    return [_header(index, text) for index, text in enumerate(raw)], complete


def _header(index: int, raw: bytes) -> dict[str, Any]:
    from astropy.io import fits  # It takes most of a second, and few requests need it.

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # What is not of the standard is shown as it stands.
        cards = list(_cards(fits.Header.fromstring(raw)))
    values = {card[0]: card[1] for card in reversed(cards)}
    packed = values.get("ZIMAGE") is True
    shape = _shape(values, "Z" if packed else "")
    if packed:
        kind = "packed image"
    elif values.get("XTENSION") in ("BINTABLE", "TABLE"):
        kind = "table"
    else:
        kind = "image" if shape else "empty"
    name = values.get("EXTNAME")
    return {
        "index": index,
        "name": "" if name is None else str(name),
        "kind": kind,
        "shape": shape,
        "cards": cards,
    }


def _cards(header: Any) -> Iterator[list[Any]]:
    for card in header.cards:
        try:
            yield [card.keyword, _plain(card.value), card.comment]
        except Exception:  # astropy raises many things for a card that is none.
            yield ["", str(card.image).rstrip(), ""]


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return None if type(value).__name__ == "Undefined" else str(value)


def _shape(values: dict[str, Any], prefix: str) -> list[int]:
    count = values.get(f"{prefix}NAXIS")
    if type(count) is not int or not 0 <= count <= 999:
        return []
    axes = [values.get(f"{prefix}NAXIS{number}") for number in range(count, 0, -1)]
    return [axis if type(axis) is int else 0 for axis in axes]
