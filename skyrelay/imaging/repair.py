"""What is wrong with the headers that telescopes write, and how is it put right?

`repaired` gives a header that astropy, SExtractor and SCAMP read without complaint; the
original is left as it is.
"""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import numpy as np
from astropy.io import fits
from stdpipe.templates import normalize_ps1_skycell

#: Keywords that describe how the pixels were stored, and are wrong once they are in memory.
_STORAGE = re.compile(
    r"^(SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|EXTEND|BSCALE|BZERO|BLANK"
    r"|CHECKSUM|DATASUM|Z[A-Z]+\d*|TTYPE\d+|TFORM\d+|TDIM\d+|EXTNAME|EXTVER|THEAP)$"
)
#: Keywords of compression whose names begin with Z; other Z keywords are the observer's.
_COMPRESSION = re.compile(
    r"^Z(IMAGE|SIMPLE|TENSION|EXTEND|BITPIX|NAXIS\d*|TILE\d+|CMPTYPE|QUANTIZ|DITHER0|NAME\d+"
    r"|VAL\d+|HECKSUM|DATASUM|SCALE|ZERO|BLANK|MASKCMP|PCOUNT|GCOUNT|BLOCKED)$"
)
#: World coordinates of a third axis, which the plane does not have.
_OTHER_AXES = re.compile(
    r"^(C(TYPE|RVAL|RPIX|DELT|UNIT|ROTA)[3-9]|(CD|PC)([3-9]_\d|\d_[3-9])|PV[3-9]_\d+|WCSAXES)$"
)
#: World coordinate keywords whose value must be a number.
_NUMERIC = re.compile(
    r"^(C(RVAL|RPIX|DELT|ROTA)\d|(CD|PC)\d_\d|PV\d_\d+|LONPOLE|LATPOLE|EQUINOX|EPOCH"
    r"|[AB]P?_(\d_\d|ORDER)|EXPTIME|EXPOSURE|GAIN|SATURATE)$"
)
#: A 16-bit pixel this near to an end of its range; no sky and no bias is.
_NEAR_THE_END = 30000
#: So many sigma below the sky there is no noise any more.
_FAR = 10.0
_OLD_MATRIX = re.compile(r"^PC00(\d)00(\d)$")


def repaired(header: fits.Header, primary: fits.Header | None) -> tuple[fits.Header, list[str]]:
    """A clean copy of ``header``, completed from the file's primary header, and what was done."""
    repairs: list[str] = []
    clean, dropped, doubled = _readable(header)
    if dropped:
        repairs.append(f"Left out unreadable or empty header cards: {_listed(dropped)}")
    if doubled:
        repairs.append(f"Left out repeated header cards: {_listed(doubled)}")
    if primary is not None:
        _inherit(clean, primary)
    for repair in (_rename_old_matrix, _make_numbers, _drop_other_axes, _fix_projection, _fix_iraf):
        repairs += repair(clean)
    return clean, repairs


def linearized(data: Any, header: fits.Header) -> tuple[Any, fits.Header, list[str]]:
    """Undo the asinh scaling of Pan-STARRS stacks."""
    if "BSOFTEN" not in header or "BOFFSET" not in header:
        return data, header, []
    data, header = normalize_ps1_skycell(data, header)
    return data, header, ["Undid the asinh scaling of a Pan-STARRS image"]


def unwrapped(pixels: Any) -> tuple[Any, list[str]]:
    """Undo the overflow of 16-bit pixels that were written without their offset.

    A camera counts to 65535; a program that stores this as a signed number makes the upper half
    of it negative. Then, and only then, there are pixels near both ends of the range.
    """
    if pixels.dtype.kind != "i" or pixels.dtype.itemsize != 2:
        return pixels, []
    if pixels.max() < _NEAR_THE_END or pixels.min() > -_NEAR_THE_END:
        return pixels, []
    wide = pixels.astype(np.int32)
    median = np.median(pixels)
    scatter = 1.4826 * np.median(np.abs(wide - median))
    wrapped = wide < min(0.0, median - _FAR * max(scatter, 1.0))
    wide[wrapped] += 2**16
    count = int(np.count_nonzero(wrapped))
    return wide, [f"Undid the overflow of {count} signed 16-bit pixels"]


def _readable(header: fits.Header) -> tuple[fits.Header, list[str], list[str]]:
    """Cards that can be read, without those on storage, without repetitions."""
    clean = fits.Header()
    dropped: list[str] = []
    doubled: list[str] = []
    for card in header.cards:
        keyword = card.keyword
        if _is_storage(keyword):
            continue
        if keyword in ("COMMENT", "HISTORY", ""):
            _append_text(clean, keyword, card)
            continue
        value = _value_of(card)
        if value is None:
            dropped.append(keyword)
        elif keyword in clean:
            # The later card is the one that the last program to write the file meant.
            if clean[keyword] != value:
                doubled.append(keyword)
            clean[keyword] = value
        else:
            _append(clean, keyword, value, card, dropped)
    return clean, dropped, doubled


def _is_storage(keyword: str) -> bool:
    if keyword.startswith("Z"):
        return bool(_COMPRESSION.match(keyword))
    return bool(_STORAGE.match(keyword)) and keyword != "EXTNAME"


def _value_of(card: fits.Card) -> Any:
    """Value of a card; None if it has none or cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = card.value
    except (ValueError, fits.VerifyError):
        return None
    if isinstance(value, fits.card.Undefined):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _append(
    clean: fits.Header, keyword: str, value: Any, card: fits.Card, dropped: list[str]
) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            name = keyword if len(keyword) <= 8 and " " not in keyword else f"HIERARCH {keyword}"
            clean.append((name, value, card.comment), end=True)
    except (ValueError, fits.VerifyError):
        dropped.append(keyword)


def _append_text(clean: fits.Header, keyword: str, card: fits.Card) -> None:
    text = str(card.value)
    if text.isascii() and text.isprintable():
        clean.append((keyword, text), end=True)


def _inherit(clean: fits.Header, primary: fits.Header) -> None:
    """Add what only the primary header says (time, filter, gain), but nothing of its WCS."""
    readable, _, _ = _readable(primary)
    for card in readable.cards:
        keyword = card.keyword
        if keyword in ("COMMENT", "HISTORY", "") or keyword in clean:
            continue
        if not (_OTHER_AXES.match(keyword) or re.match(r"^(CTYPE|CRVAL|CRPIX|CD\d|PC\d)", keyword)):
            _append(clean, keyword, card.value, card, [])


def _rename_old_matrix(header: fits.Header) -> list[str]:
    """The draft standard's ``PC001001`` is today's ``PC1_1``."""
    old = [keyword for keyword in header if _OLD_MATRIX.match(keyword)]
    for keyword in old:
        new = _OLD_MATRIX.sub(r"PC\1_\2", keyword)
        if new in header:
            header.remove(keyword)
        else:
            header.rename_keyword(keyword, new)
    return ["Renamed PC00i00j to PCi_j"] if old else []


def _make_numbers(header: fits.Header) -> list[str]:
    """Numbers that were written as strings."""
    changed = []
    for keyword in list(header):
        if not _NUMERIC.match(keyword) or not isinstance(header[keyword], str):
            continue
        try:
            header[keyword] = float(header[keyword])
        except ValueError:
            if keyword in ("EXPTIME", "EXPOSURE", "GAIN", "SATURATE"):
                continue
            header.remove(keyword)
        changed.append(keyword)
    return [f"Made numbers of text: {_listed(changed)}"] if changed else []


def _drop_other_axes(header: fits.Header) -> list[str]:
    extra = [keyword for keyword in header if _OTHER_AXES.match(keyword)]
    for keyword in extra:
        header.remove(keyword)
    return ["Left out the coordinates of a third axis"] if set(extra) - {"WCSAXES"} else []


def _fix_projection(header: fits.Header) -> list[str]:
    """Projections that say less or more than their parameters do.

    SCAMP writes PV polynomials under plain ``TAN``; some programs declare ``TPV`` with none, or
    SIP polynomials without ``-SIP``. PRISM writes ``PV`` cards that mean nothing beside a
    ``TAN`` without the linear term.
    """
    if "CTYPE1" not in header or "CTYPE2" not in header:
        return []
    kind = str(header["CTYPE1"])[5:].strip("- ")
    polynomial = [keyword for keyword in header if re.match(r"^PV\d_\d+$", keyword)]
    repairs = []
    if kind == "TAN" and polynomial:
        if "PV1_1" in header or "PV1_4" in header:
            _set_projection(header, "TPV")
            repairs.append("The projection is TPV: it has PV polynomials")
        else:
            for keyword in polynomial:
                header.remove(keyword)
            repairs.append("Left out PV terms that a TAN projection does not have")
    elif kind == "TPV" and not polynomial:
        _set_projection(header, "TAN")
        repairs.append("The projection is TAN: it has no PV polynomials")
    if kind == "TAN" and "A_ORDER" in header and "B_ORDER" in header:
        for axis in (1, 2):
            header[f"CTYPE{axis}"] = f"{str(header[f'CTYPE{axis}'])[:8]}-SIP"
        repairs.append("The projection is TAN-SIP: it has SIP polynomials")
    return repairs


def _set_projection(header: fits.Header, name: str) -> None:
    for axis in (1, 2):
        header[f"CTYPE{axis}"] = f"{str(header[f'CTYPE{axis}'])[:5]}{name}"


def _fix_iraf(header: fits.Header) -> list[str]:
    """IRAF's ``WATj_nnn`` cards and ``PIXEL``/``LINEAR`` axes confuse other programs."""
    iraf = [k for k in header if re.match(r"^(WAT\d_\d+|WCSDIM|LTM\d_\d|LTV\d|WAXMAP\d+)$", k)]
    for keyword in iraf:
        header.remove(keyword)
    repairs = ["Left out IRAF's own coordinate cards"] if iraf else []
    if str(header.get("CTYPE1", "")).strip().upper() in ("PIXEL", "LINEAR", "X"):
        for axis in (1, 2):
            header.remove(f"CTYPE{axis}", ignore_missing=True)
        repairs.append("Left out axes that are no celestial coordinates")
    return repairs


def _listed(keywords: list[str]) -> str:
    shown = ", ".join(sorted(set(keywords))[:10])
    return shown if len(set(keywords)) <= 10 else f"{shown} and others"
