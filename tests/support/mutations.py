"""How is a valid FITS file spoiled, in every way that files are, and the same way each time?"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from skyrelay.synthetic import FieldSpec, render_observation

CARD, BLOCK = 80, 2880
#: Larger images are cropped to this side: it is the reading that is tried, not the patience.
SIDE = 96

#: How many of the files are made here, of a field whose catalogue is known.
SYNTHETIC = 8
#: The field of the synthetic ones: crowded, so that there are stars to measure.
FIELD = FieldSpec(seed=8, size=SIDE, crowding=6.0)

_KEYWORDS = (
    *("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "EXTEND", "BSCALE", "BZERO"),
    *("BLANK", "PCOUNT", "GCOUNT", "CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"),
    *("CD1_1", "CD1_2", "CD2_1", "CD2_2", "CDELT1", "CDELT2", "CROTA2", "PC1_1", "PC001001"),
    *("CUNIT1", "LONPOLE", "LATPOLE", "EQUINOX", "RADESYS", "WCSAXES", "PV1_1", "PV2_1", "PV1_40"),
    *("A_ORDER", "B_ORDER", "A_2_0", "B_0_2", "AP_ORDER", "WAT0_001", "LTV1", "CTYPE3", "CRVAL3"),
    *("GAIN", "EGAIN", "SATURATE", "FILTER", "FILTER1", "EXPTIME", "DATE-OBS", "TIME-OBS", "UT"),
    *("MJD-OBS", "JD", "DATE-MID", "NCOMBINE", "TRIMSEC", "DATASEC", "BSOFTEN", "BOFFSET"),
    *("ZIMAGE", "ZCMPTYPE", "ZNAXIS1", "ZTILE1", "TFORM1", "CONTINUE", "HISTORY", "END", "OBJECT"),
)
_VALUES = (
    *("0", "-1", "1", "2", "3", "16", "-32", "999", "1E308", "-1E308", "1E-300", "1E400", "NaN"),
    *("nan", "Inf", "99999999999999999999", "9223372036854775807", "T", "F", "", "''", "'abc'"),
    *("'RA---TAN'", "'DEC--TPV'", "'RA---TAN-SIP'", "'GLON-CAR'", "'PIXEL'", "'12:34:56'"),
    *("'2024-13-45T99:99:99'", "'2024-05-14T23:12:41+25:00'", "'31/12/99'", "'0000-00-00'"),
    *("'[1:10,1:10]'", "'[0:0,5:1]'", "'r.00000'", "(1.0, 2.0)", "'unterminated", "1.0 / 2 / 3"),
    *("'" + "x" * 66 + "'", "'\xe9\xff'", "0x1F", "1,5", "- 5", "'1.5 e-/ADU'", "360.0", "90.0001"),
)

#: Zero, all bits, and as single precision: NaN, infinity, a huge number.
_PATTERNS = ("00", "ff", "7fc00000", "7f800000", "7f000000")


def base_files(folders: Sequence[Path]) -> list[bytes]:
    """Valid files to begin with: small ones of every kind, and crops of those in ``folders``."""
    observation = render_observation(FIELD)
    pixels, header = observation.image, observation.header
    floats = pixels.astype(np.float32)
    plain = fits.PrimaryHDU(pixels, header)
    extensions = [fits.PrimaryHDU(header=header), fits.ImageHDU(floats, header)]
    files = [
        _bytes(plain),
        _bytes(fits.PrimaryHDU(floats, header)),
        _bytes(fits.PrimaryHDU((floats - 300).astype(np.int16), header)),
        _bytes(fits.PrimaryHDU(floats.astype(">f8"), header)),
        _bytes(*extensions),
        _bytes(fits.PrimaryHDU(np.stack([floats, floats]), header)),
        _bytes(fits.PrimaryHDU(), fits.CompImageHDU(pixels.astype(np.int32), header)),
        _bytes(fits.PrimaryHDU(), fits.CompImageHDU(floats, header, compression_type="GZIP_1")),
    ]
    assert len(files) == SYNTHETIC
    return files + [crop for folder in folders for crop in _crops(folder)]


def _crops(folder: Path) -> list[bytes]:
    crops = []
    for path in sorted(folder.glob("*.fit*")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.stat().st_size < 130_000:
                crops.append(path.read_bytes())
                continue
            with fits.open(path, memmap=False) as hdus:
                hdu = next(each for each in hdus if each.is_image and each.data is not None)
                part = hdu.data[..., 40 : 40 + SIDE, 40 : 40 + SIDE]
                crops.append(_bytes(fits.PrimaryHDU(part, hdu.header)))
    return crops


def _bytes(*hdus: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(list(hdus)).writeto(buffer, output_verify="silentfix+ignore")
    return buffer.getvalue()


def mutated(number: int, bases: Sequence[bytes]) -> bytes:
    """Case ``number``: one of the files with one to four things wrong."""
    rng = np.random.default_rng([20240514, number])
    content = bytearray(bases[number % len(bases)])
    for _ in range(int(rng.integers(1, 5))):
        if content:
            _MUTATIONS[int(rng.integers(len(_MUTATIONS)))](content, rng)
    return bytes(content)


Random = np.random.Generator


def _pick(rng: Random, items: Sequence[str]) -> str:
    return items[int(rng.integers(len(items)))]


def _cards(content: bytearray) -> range:
    """Places of the cards of the first header."""
    end = content.find(b"END" + b" " * 77)
    return range(0, end if end > 0 else min(len(content), BLOCK), CARD)


def _place(content: bytearray, rng: Random) -> int:
    places = _cards(content)
    return places[int(rng.integers(len(places)))] if len(places) else 0


def _card(rng: Random) -> bytes:
    text = f"{_pick(rng, _KEYWORDS):8s}= {_pick(rng, _VALUES):>20s}"
    return text.encode("latin-1")[:CARD].ljust(CARD)


def _spoil_value(content: bytearray, rng: Random) -> None:
    place = _place(content, rng)
    value = f"{_pick(rng, _VALUES):>20s}".encode("latin-1")[: CARD - 10].ljust(CARD - 10)
    content[place + 10 : place + CARD] = value


def _replace_card(content: bytearray, rng: Random) -> None:
    place = _place(content, rng)
    content[place : place + CARD] = _card(rng)


def _overwrite_known(content: bytearray, rng: Random) -> None:
    """Another value for a card that matters."""
    card = _card(rng)
    for place in _cards(content):
        if content[place : place + 8] == card[:8]:
            content[place : place + CARD] = card
            return
    _replace_card(content, rng)


def _repeat_card(content: bytearray, rng: Random) -> None:
    source, target = _place(content, rng), _place(content, rng)
    content[target : target + CARD] = content[source : source + CARD]


def _flip_in_header(content: bytearray, rng: Random) -> None:
    for _ in range(int(rng.integers(1, 8))):
        place = int(rng.integers(min(len(content), BLOCK)))
        content[place] ^= 1 << int(rng.integers(8))


def _flip_in_data(content: bytearray, rng: Random) -> None:
    for _ in range(int(rng.integers(1, 200))):
        place = int(rng.integers(len(content)))
        content[place] ^= 1 << int(rng.integers(8))


def _cut(content: bytearray, rng: Random) -> None:
    del content[int(rng.integers(1, len(content) + 1)) :]


def _insert(content: bytearray, rng: Random) -> None:
    place = int(rng.integers(len(content)))
    content[place:place] = rng.bytes(int(rng.integers(1, 400)))


def _fill(content: bytearray, rng: Random) -> None:
    """A stretch of the data with the same bytes all along: constants, NaN, huge numbers."""
    if len(content) <= BLOCK:
        return
    start = int(rng.integers(BLOCK, len(content)))
    pattern = _pick(
        rng, ("\x00", "\xff", "\x7f\xc0\x00\x00", "\x7f\x80\x00\x00", "\x7f\x00\x00\x00")
    )
    length = len(content) - start
    if rng.random() < 0.5:
        length = int(rng.integers(length + 1))
    stretch = (pattern.encode("latin-1") * (length // len(pattern) + 1))[:length]
    content[start : start + length] = stretch


def _add_block(content: bytearray, rng: Random) -> None:
    """An extension that is none, at the end."""
    content.extend(rng.bytes(BLOCK) if rng.random() < 0.5 else b"XTENSION= 'IMAGE   '".ljust(BLOCK))


_MUTATIONS: tuple[Callable[[bytearray, Random], None], ...] = (
    *(_spoil_value, _replace_card, _overwrite_known, _overwrite_known, _repeat_card),
    *(_flip_in_header, _flip_in_data, _cut, _insert, _fill, _fill, _add_block),
)
