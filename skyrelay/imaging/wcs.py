"""Where on the sky do the pixels lie, if the header tells anything sensible about it?

No header may make these functions raise, hang or take memory: only the keywords that define a
celestial 2-D system reach astropy, and what comes out is tried before it is trusted.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import angular_separation
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from skyrelay.imaging.fits_structure import check_structure
from skyrelay.products import IMAGE_WCS
from skyrelay.records import SkyField

#: A coarser solution than this is no solution, in arcsec/px.
COARSEST = 100.0
#: A finer one neither.
FINEST = 0.001
#: Positions along each side of the image at which a solution is tried.
_TRIED = 9

_KEYWORDS = re.compile(
    r"^(C(TYPE|RVAL|RPIX|DELT|UNIT|ROTA)[12]|(CD|PC)[12]_[12]|PV[12]_\d+|LONPOLE|LATPOLE"
    r"|EQUINOX|RADESYS|RADECSYS|[AB]P?_(\d_\d|ORDER|DMAX))$"
)


def wcs_of(header: fits.Header, shape: tuple[int, int] | None = None) -> WCS | None:
    """The celestial coordinate system of a 2-D image, or None if there is no usable one.

    Parameters
    ----------
    header : Header
        Header of the image.
    shape : tuple of int, optional
        Shape of the image, to try the solution at its centre and corners.
    """
    reduced = fits.Header()
    for keyword in header:
        if _KEYWORDS.match(keyword):
            reduced[keyword] = header[keyword]
    if "CTYPE1" not in reduced:
        return None
    if any(keyword.startswith("CD") and keyword[2:3].isdigit() for keyword in reduced):
        for axis in (1, 2):
            reduced.remove(f"CDELT{axis}", ignore_missing=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wcs = WCS(reduced, naxis=2)
            return wcs if _is_sane(wcs, shape) else None
    except Exception:
        # wcslib knows dozens of ways to fail; each of them means that there is no solution.
        return None


def load_wcs(folder: Path, header: fits.Header, shape: tuple[int, int]) -> WCS | None:
    """The best solution of a task's image: the refined one, else that of the header."""
    refined = folder / IMAGE_WCS
    if refined.exists():
        try:
            check_structure(refined)
            wcs = wcs_of(fits.getheader(refined), shape)
        except OSError:
            wcs = None
        if wcs is not None:
            return wcs
    return wcs_of(header, shape)


def pixel_scale(wcs: WCS) -> float:
    """Geometric mean of the pixel scale along both axes, in degrees."""
    return float(np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix))))


def sky_field(wcs: WCS, shape: tuple[int, int]) -> SkyField:
    """Centre, radius to the farthest corner, pixel scale (all in degrees) and coverage."""
    height, width = shape
    xs = np.array([(width - 1) / 2, 0, width - 1, 0, width - 1])
    ys = np.array([(height - 1) / 2, 0, 0, height - 1, height - 1])
    ra, dec = wcs.all_pix2world(xs, ys, 0)
    radius = float(np.max(_separation(ra[0], dec[0], ra[1:], dec[1:])))
    from skyrelay.imaging.coverage import coverage_of  # The gateway asks for no coverage.

    scale = pixel_scale(wcs)
    return SkyField(
        ra=float(ra[0]) % 360,
        dec=float(dec[0]),
        radius=radius,
        pixel_scale=scale,
        moc=coverage_of(wcs, shape, scale),
    )


def to_sky(wcs: WCS, x: float, y: float) -> tuple[float, float] | None:
    """Position in degrees of a pixel (0-based); None where the solution does not tell any."""
    try:
        ra, dec = wcs.all_pix2world(x, y, 0)
    except Exception:
        # A distortion polynomial need not have an inverse everywhere.
        return None
    return (float(ra) % 360, float(dec)) if np.isfinite(ra) and np.isfinite(dec) else None


def to_pixels(wcs: WCS, ra: Any, dec: Any) -> tuple[Any, Any]:
    """Pixel positions (0-based) of sky positions in degrees; NaN where they are not defined."""
    ra, dec = np.atleast_1d(np.asarray(ra, float)), np.atleast_1d(np.asarray(dec, float))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            x, y = _world_to_pixels(wcs, ra, dec)
            # Far outside the image a distortion polynomial means nothing.
            back_ra, back_dec = wcs.all_pix2world(x, y, 0)
        except Exception:
            if len(ra) == 1:
                return np.full(1, np.nan), np.full(1, np.nan)
            # One position that has no pixel must not take the others with it.
            each = [to_pixels(wcs, *position) for position in zip(ra, dec, strict=True)]
            return np.concatenate([x for x, _ in each]), np.concatenate([y for _, y in each])
    wrong = _separation(ra, dec, back_ra, back_dec) > 10 * pixel_scale(wcs)
    wrong |= ~np.isfinite(x) | ~np.isfinite(y)
    return np.where(wrong, np.nan, x), np.where(wrong, np.nan, y)


def _world_to_pixels(wcs: WCS, ra: Any, dec: Any) -> tuple[Any, Any]:
    try:
        x, y = wcs.all_world2pix(ra, dec, 0, quiet=True)
    except Exception:
        x, y = wcs.wcs_world2pix(ra, dec, 0)
    return x, y


def _separation(ra: Any, dec: Any, other_ra: Any, other_dec: Any) -> Any:
    """Distances on the sky in degrees."""
    angles = (np.radians(each) for each in (ra, dec, other_ra, other_dec))
    return np.degrees(angular_separation(*angles))


def with_wcs(header: fits.Header, wcs: WCS | None) -> fits.Header:
    """Copy of ``header`` with ``wcs`` in place of its own coordinates (None: without any)."""
    copy = header.copy()
    keywords = {key for key in copy if _KEYWORDS.match(key)}
    for keyword in keywords:
        copy.remove(keyword, remove_all=True)
    if wcs is not None:
        copy.update(wcs.to_header(relax=True))
    return copy


def _is_sane(wcs: WCS, shape: tuple[int, int] | None) -> bool:
    if not wcs.is_celestial:
        return False
    scales = proj_plane_pixel_scales(wcs) * 3600
    if not (np.all(scales > FINEST) and np.all(scales < COARSEST)):
        return False
    if not np.all(np.abs(wcs.wcs.crval) <= 360) or pixel_scale(wcs) * 3600 < FINEST:
        return False
    height, width = shape or (2, 2)
    # Not only the corners: a distortion may have no inverse in between.
    xs, ys = np.meshgrid(*(np.linspace(0, side - 1, _TRIED) for side in (width, height)))
    ra, dec = wcs.all_pix2world(xs.ravel(), ys.ravel(), 0)
    return bool(np.all(np.isfinite(ra)) and np.all(np.abs(dec) <= 90))
