"""hips2fits, and the archives of Pan-STARRS and the Legacy Survey.

Files have the names, cells and layout of the real ones (compressed, in an extension; Pan-STARRS on
a scale of asinh, with its old spelling of the matrix); only their pixels are coarser.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from stdpipe.utils import get_data_path

from tests.sky.heavens import Heavens, square
from tests.sky.messages import Answer, Question

_FITS = "image/fits"
_NOT_FOUND = Answer(b"<html>404 Not Found</html>", "text/html", 404)
#: Arcsec per pixel of the archives' files here, and a seeing that they still sample.
_SCALE, _ARCHIVE_SEEING = 0.8, 1.8
_PS1_FILE = re.compile(r".*/rings\.v3\.skycell\.(\d{4})\.(\d{3})\.stk\.(\w)\.unconv(\.mask)?\.fits")
_LS_FILE = re.compile(
    r"dr\d+/(?:south|north)/coadd/(\d{3})/(\w+)/"
    r"legacysurvey-\2-(?:(image|invvar)-(\w)|(maskbits))\.fits\.fz"
)
_HIPS = re.compile(r"CDS/P/(skymapper-|Skymapper/DR4/|DES-DR2/|DECaPS/DR2/|ZTF/DR7/|2MASS/)(\w+)")
_PAN_STARRS = re.compile(r"CDS/P/PanSTARRS/DR1/(\w)")
#: Seeing of surveys in arcsec.
_SEEING = {"skymapper-": 2.4, "Skymapper/DR4/": 2.4, "ZTF/DR7/": 2.0, "2MASS/": 2.5}
#: What a unit of each HiPS is worth; no two surveys agree.
_UNIT = {"skymapper-": 1e-6, "DES-DR2/": 30.0, "2MASS/": 0.1}


def _drawn_once(draw: Callable[[Heavens, Question], Answer]) -> Callable[..., Answer]:
    """Drawing takes long; the sky does not change."""

    @wraps(draw)
    def answer(heavens: Heavens, question: Question) -> Answer:
        key = f"{question.path}?{question.text}"
        if key not in heavens.drawn:
            heavens.drawn[key] = draw(heavens, question)
        return heavens.drawn[key]

    return answer


@_drawn_once
def hips2fits(heavens: Heavens, question: Question) -> Answer:
    """A survey on the grid that is asked for: around a position, or with a given WCS."""
    query = question.query
    width, height = int(query["width"]), int(query["height"])
    if "wcs" in query:
        wcs = WCS(fits.Header(json.loads(query["wcs"])))
    else:
        scale = 3600 * float(query["fov"]) / max(width, height)
        wcs = square(float(query["ra"]), float(query["dec"]), width, scale)
    name = query["hips"]
    if match := _HIPS.fullmatch(name):
        band = match[2].lower() if match[1] == "skymapper-" else match[2]
        fluxes = heavens.picture(wcs, (height, width), band, _SEEING.get(match[1], 1.5))
        data = fluxes * _UNIT.get(match[1], 1.0)
    elif match := _PAN_STARRS.fullmatch(name):
        data = heavens.picture(wcs, (height, width), match[1], 1.5)
        if match[1] != "g":
            data = np.arcsinh(data / 2) / (0.4 * np.log(10))
    elif name == "CDS/P/DSS2/red":
        data = heavens.picture(wcs, (height, width), "r", 2.5)
    else:
        return Answer(b'{"title": "unknown HiPS"}', "application/json", 400)
    return _answer(fits.PrimaryHDU(data.astype(np.float32), wcs.to_header()))


@_drawn_once
def pan_starrs(heavens: Heavens, question: Question) -> Answer:
    """A stacked image, or its mask, of a cell of the sky."""
    match = _PS1_FILE.fullmatch(question.path)
    centre = _skycell(int(match[1]), int(match[2])) if match else None
    if match is None or centre is None:
        return _NOT_FOUND
    side = int(0.43 * 3600 / _SCALE)
    wcs = square(*centre, side, _SCALE)
    if match[4]:
        flags = np.zeros((side, side), np.uint16)
        flags[:, ::50] = 0x8000  # marks nothing bad
        flags[:3] = flags[-3:] = flags[:, :3] = flags[:, -3:] = 0x0001
        return _answer(fits.CompImageHDU(flags, _ps1_header(wcs)))
    exposure_time = 900.0
    counts = heavens.picture(wcs, (side, side), match[3], _ARCHIVE_SEEING) * exposure_time / 100
    soften, offset = 20.0, 5.0
    data = np.arcsinh((counts - offset) / (2 * soften)) / (0.4 * np.log(10))
    header = _ps1_header(wcs)
    header["BSOFTEN"], header["BOFFSET"], header["EXPTIME"] = soften, offset, exposure_time
    hidden = np.zeros((side, side), bool)
    hidden[:2] = hidden[-2:] = True
    return _answer(_scaled_to_integers(data, hidden, header))


def _scaled_to_integers(data: Any, hidden: Any, header: fits.Header) -> fits.CompImageHDU:
    """16 bits per pixel and a value for none, as the archive stores them."""
    zero, scale = float(np.mean([data.min(), data.max()])), float(np.ptp(data)) / 65000
    integers = np.where(hidden, -32768, np.rint((data - zero) / scale)).astype(np.int16)
    part = fits.CompImageHDU(integers, header)
    part.header["BSCALE"], part.header["BZERO"], part.header["BLANK"] = scale, zero, -32768
    return part


def _ps1_header(wcs: WCS) -> fits.Header:
    """The coordinates as the archive writes them."""
    header = fits.Header()
    for axis in (1, 2):
        header[f"CTYPE{axis}"] = wcs.wcs.ctype[axis - 1]
        header[f"CRVAL{axis}"] = float(wcs.wcs.crval[axis - 1])
        header[f"CRPIX{axis}"] = float(wcs.wcs.crpix[axis - 1])
        header[f"CDELT{axis}"] = abs(float(wcs.wcs.cdelt[axis - 1]))
    header["PC001001"], header["PC001002"] = -1.0, 0.0
    header["PC002001"], header["PC002002"] = 0.0, 1.0
    return header


@_drawn_once
def legacy_survey(heavens: Heavens, question: Question) -> Answer:
    """A stacked image, its weights, or the mask that all filters share, of a brick of the sky."""
    match = _LS_FILE.fullmatch(question.path)
    centre = _brick(match[2]) if match else None
    if match is None or centre is None:
        return _NOT_FOUND
    side = int(0.26 * 3600 / _SCALE)
    wcs = square(*centre, side, _SCALE)
    header = wcs.to_header()
    if match[5]:
        flags = np.zeros((side, side), np.int16)
        flags[::40] = 0x0002  # a bright star is near, which is no harm
        flags[:3] = flags[-3:] = flags[:, :3] = flags[:, -3:] = 0x0001
        return _answer(fits.CompImageHDU(flags, header))
    weight = np.ones((side, side), np.float32)
    weight[:, :2] = 0
    if match[3] == "invvar":
        return _answer(fits.CompImageHDU(weight, header))
    nanomaggies = heavens.picture(wcs, (side, side), match[4], _ARCHIVE_SEEING) / 100
    nanomaggies[weight == 0] = 0
    return _answer(fits.CompImageHDU(nanomaggies.astype(np.float32), header))


def _answer(part: Any) -> Answer:
    parts = [part] if isinstance(part, fits.PrimaryHDU) else [fits.PrimaryHDU(), part]
    content = io.BytesIO()
    fits.HDUList(parts).writeto(content)
    return Answer(content.getvalue(), _FITS)


def _skycell(projection: int, cell: int) -> tuple[float, float] | None:
    with open(get_data_path("ps1skycells.txt")) as file:
        for line in file:
            words = line.split()
            if words[2:] == [str(projection), str(cell)]:
                return float(words[0]), float(words[1])
    return None


@lru_cache(maxsize=1)
def _bricks() -> Table:
    return Table.read(get_data_path("legacysurvey_bricks.fits.gz"), format="fits")


def _brick(name: str) -> tuple[float, float] | None:
    bricks = _bricks()
    rows = bricks[bricks["brickname"] == name]
    return (float(rows[0]["ra"]), float(rows[0]["dec"])) if len(rows) else None
