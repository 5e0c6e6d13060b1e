"""What do the original images of a survey show in a field, and which of their pixels are bad?

Pan-STARRS and the Legacy Survey publish their stacked images as files, each of a cell of the sky,
with masks. stdpipe knows the cells; only what lies in the field is taken out of each file.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from stdpipe import templates

from skyrelay.imaging.pieces import Piece
from skyrelay.sky.healpix import Cone
from skyrelay.sky.remote import Absent, BadAnswer, Remote, Request, answers
from skyrelay.sky.remote.services import LEGACY_SURVEY, PS1, Service
from skyrelay.sky.surveys import ORIGINALS

#: Pixels of a cell around the field that the interpolation may need.
_MARGIN = 16
#: Points along each side of the image whose place in a cell is looked up.
_SAMPLES = 33


@dataclass(frozen=True)
class Survey:
    """A survey with original images.

    Attributes
    ----------
    title : str
        What a person calls it.
    bands : str
        Its filters.
    service : Service
        Where its files are.
    root : str
        What the path of a file begins with in stdpipe's address of it.
    bad : dict of str to int
        Bits of the mask, by filter, that make a pixel unusable.
    """

    title: str
    bands: str
    service: Service
    root: str
    bad: dict[str, int]


#: All but the undocumented bit that marks good pixels as well.
_PS1_BAD = 0xFFFF & ~0x8000
#: Not this brick's own area, or processing given up; halos of stars and galaxies are no reason.
_LS_BAD = 0x0001 | 0x0400
#: Saturated, or bad in all exposures, by filter (legacysurvey.org/dr10/bitmasks).
_LS_BAND = {
    "g": 0x0004 | 0x0020,
    "r": 0x0008 | 0x0040,
    "i": 0x4000 | 0x8000,
    "z": 0x0010 | 0x0080,
}

#: The surveys by the name that the parameter ``template`` has for them.
SURVEYS: dict[str, Survey] = {
    "ps1": Survey(*ORIGINALS["ps1"], PS1, "/", dict.fromkeys("grizy", _PS1_BAD)),
    "ls": Survey(
        *ORIGINALS["ls"],
        LEGACY_SURVEY,
        "/cfs/cosmo/data/legacysurvey/",
        {band: _LS_BAD | bits for band, bits in _LS_BAND.items()},
    ),
}


def pieces_of(
    remote: Remote, name: str, band: str, wcs: WCS, shape: tuple[int, int], cone: Cone
) -> Iterator[Piece]:
    """The parts of the survey's images that lie in an image.

    Parameters
    ----------
    wcs, shape, cone
        The image: its coordinates, its rows and columns, and a circle around it.

    Raises
    ------
    Permanent, Retriable
        As `Remote.fetch` does.
    """
    survey = SURVEYS[name]
    for image_path, mask_path in zip(
        _paths(name, band, "image", wcs, shape, cone),
        _paths(name, band, "mask", wcs, shape, cone),
        strict=True,
    ):
        try:
            piece = _piece(remote, survey, band, image_path, mask_path, _outline(wcs, shape))
        except Absent:
            remote.log(f"{survey.title} has no {image_path.rpartition('/')[2]}")
            continue
        if piece is not None:
            yield piece


def _paths(
    name: str, band: str, what: str, wcs: WCS, shape: tuple[int, int], cone: Cone
) -> list[str]:
    rows, columns = shape
    found = templates.find_skycells(
        cone.ra, cone.dec, cone.radius, band=band, ext=what, survey=name,
        wcs=wcs, width=columns, height=rows,
    )  # fmt: skip
    return [urlsplit(each).path.removeprefix(SURVEYS[name].root) for each in found]


def _piece(
    remote: Remote, survey: Survey, band: str, image_path: str, mask_path: str, outline: Any
) -> Piece | None:
    def fetch(path: str, linear: Callable[[Any, fits.Header], tuple[Any, fits.Header]]) -> Any:
        return remote.fetch(
            survey.service, Request(path=path), lambda file: _cut_out(file, outline, linear)
        )

    found = fetch(image_path, templates.normalize_ps1_skycell)
    if found is None:
        return None
    image, wcs = found
    image = np.asarray(image, dtype=np.float64)
    if survey.service is LEGACY_SURVEY:
        weight, _ = fetch(image_path.replace("-image-", "-invvar-"), _as_it_is)
        image[np.asarray(weight) == 0] = np.nan
    flags, _ = fetch(mask_path, _as_it_is)
    bad = (np.asarray(flags).astype(np.int64) & survey.bad[band]) != 0
    return Piece(image, bad, wcs)


def _as_it_is(data: Any, header: fits.Header) -> tuple[Any, fits.Header]:
    return data, header


def _outline(wcs: WCS, shape: tuple[int, int]) -> tuple[Any, Any]:
    """Positions (degrees) all over the image, its border included."""
    rows, columns = shape
    x, y = np.meshgrid(np.linspace(0, columns - 1, _SAMPLES), np.linspace(0, rows - 1, _SAMPLES))
    ra, dec = wcs.all_pix2world(x.ravel(), y.ravel(), 0)
    return ra, dec


def _cut_out(
    file: IO[bytes],
    outline: tuple[Any, Any],
    linear: Callable[[Any, fits.Header], tuple[Any, fits.Header]],
) -> tuple[Any, WCS] | None:
    """The part of a cell that the image's outline covers; None if there is none."""
    with answers.opened_image(file) as parts, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = next((each for each in parts if each.is_image and each.header["NAXIS"] == 2), None)
        if part is None:
            raise BadAnswer("a FITS file without an image")
        # Headers of PS1 have an old spelling of the matrix, which is put right first.
        _, header = templates.normalize_ps1_skycell(np.zeros((1, 1)), part.header)
        wcs = WCS(header)
        if not wcs.is_celestial:
            raise BadAnswer("an image without coordinates")
        rows, columns = part.shape
        box = _box(wcs, outline, rows, columns)
        if box is None:
            return None
        left, right, low, high = box
        try:
            data = part.section[low:high, left:right]
        except Exception as error:  # what decompression can meet in broken data is anybody's guess
            raise BadAnswer(f"broken pixels ({type(error).__name__})") from None
        data, _ = linear(np.asarray(data), part.header)
    return data, wcs[low:high, left:right]


def _box(
    wcs: WCS, outline: tuple[Any, Any], rows: int, columns: int
) -> tuple[int, int, int, int] | None:
    x, y = wcs.wcs_world2pix(*outline, 0)
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return None
    left, right = (int(each) for each in (np.floor(x[known].min()), np.ceil(x[known].max())))
    low, high = (int(each) for each in (np.floor(y[known].min()), np.ceil(y[known].max())))
    left, low = max(0, left - _MARGIN), max(0, low - _MARGIN)
    right, high = min(columns, right + 1 + _MARGIN), min(rows, high + 1 + _MARGIN)
    return (left, right, low, high) if left < right and low < high else None
