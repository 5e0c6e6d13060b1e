"""What does a point source look like in the image?"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable

import numpy as np
import sep_x as sep
from astropy.modeling.functional_models import Moffat2D
from astropy.table import Table
from numpy.typing import NDArray
from stdpipe import psf

from skyrelay.imaging.apertures import signal_to_noise
from skyrelay.imaging.arrays import Plane
from skyrelay.imaging.flags import BAD_SHAPE

#: Stars from which the profile is made: more do not make it better, only slower.
_MAX_STARS = 100
#: Fewer stars than this say less than a profile from the literature.
_MIN_STARS = 3
#: Radii (FWHM) between which the wings of a profile are measured, in so many rings, and from the
#: second of which on they are continued.
_WINGS_FROM, _WINGS_TO, _WING_RINGS = 1.2, 2.0, 3
#: Wings that fall more slowly than this power of the radius are no star's.
_FLATTEST_WING = -2.5
#: Exponent of a Moffat profile in turbulent air (Trujillo et al. 2001, MNRAS 328, 977).
_MOFFAT_BETA = 4.765


def measure_point_spread(
    image: Plane, stars: Table, fwhm: float, log: Callable[..., object]
) -> Plane:
    """Profile of a point source, of sum 1, in an odd square of about five FWHM.

    Parameters
    ----------
    image : ndarray
        Image with its sky subtracted; masked pixels must be finite.
    stars : Table
        Good stars (``x``, ``y``, ``flux``), see `good_stars`.
    fwhm : float
        FWHM in pixels.
    log : callable
        Is told where the profile comes from.
    """
    size = 2 * int(np.ceil(2.5 * fwhm)) + 1
    brightest = stars[np.argsort(-np.asarray(stars["flux"], dtype=float))][:_MAX_STARS]
    if len(brightest) >= _MIN_STARS:
        profile = _from_stars(image, brightest, fwhm, size)
        if profile is not None:
            log(f"Profile of a point source from {len(brightest)} stars")
            return profile
    log("Too few good stars: a Moffat profile stands for a point source")
    return moffat(fwhm, size)


def with_wings(profile: Plane, fwhm: float, reach: float) -> Plane:
    """A profile, continued by a power of the radius to ``reach`` FWHM; of sum 1.

    What is measured so far out is noise and neighbours. But a profile that ends within the light of
    bright stars leaves a ring of it where it does.
    """
    radius, values = _radii(profile).ravel(), profile.ravel()
    fitted = (radius > _WINGS_FROM * fwhm) & (radius < _WINGS_TO * fwhm)
    edges = np.linspace(_WINGS_FROM, _WINGS_TO, _WING_RINGS + 1) * fwhm
    ring = np.digitize(radius[fitted], edges) - 1
    mean = np.array([values[fitted][ring == each].mean() for each in range(_WING_RINGS)])
    if not (mean > 0).all():
        return profile
    slope, level = np.polyfit(np.log((edges[1:] + edges[:-1]) / 2), np.log(mean), 1)
    if slope > _FLATTEST_WING:
        return profile
    half = int(np.ceil(reach * fwhm))
    whole = np.zeros((2 * half + 1, 2 * half + 1))
    inner = profile.shape[0] // 2
    whole[half - inner : half + inner + 1, half - inner : half + inner + 1] = profile
    away = _radii(whole)
    beyond = away > _WINGS_TO * fwhm
    whole[beyond] = np.exp(level + slope * np.log(away[beyond]))
    return np.asarray(whole / whole.sum())


def _radii(plane: Plane) -> Plane:
    half = plane.shape[0] // 2
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    return np.asarray(np.hypot(rows, columns))


def moffat(fwhm: float, size: int) -> Plane:
    """Moffat profile of sum 1 in the middle of a square of ``size`` pixels."""
    middle = size // 2
    width = fwhm / (2 * np.sqrt(2 ** (1 / _MOFFAT_BETA) - 1))
    y, x = np.mgrid[:size, :size]
    profile: Plane = Moffat2D(1, middle, middle, width, _MOFFAT_BETA)(x, y)
    return np.asarray(profile / profile.sum())


def enclosed(profile: Plane, radius: float) -> float:
    """Part of a profile within ``radius`` pixels of its middle."""
    middle = [profile.shape[0] // 2]
    flux, _, _ = sep.sum_circle(np.ascontiguousarray(profile), middle, middle, [radius], subpix=0)
    return float(flux[0])


def good_stars(objects: Table, fwhm: float, *, least_sn: float = 20.0) -> Table:
    """Objects that look like single, well exposed stars."""
    sn = signal_to_noise(objects)
    width = np.asarray(objects["fwhm"], dtype=float)
    good = unflagged(objects) & (sn > least_sn)
    good &= (width > 0.7 * fwhm) & (width < 1.3 * fwhm)
    return objects[good]


def unflagged(objects: Table) -> NDArray[np.bool_]:
    """Which objects have no flag but that of an unusual shape.

    In a field of few stars it is the bright ones that are unusual.
    """
    good: NDArray[np.bool_] = (np.asarray(objects["flags"]).astype(int) & ~BAD_SHAPE) == 0
    return good


def _from_stars(image: Plane, stars: Table, fwhm: float, size: int) -> Plane | None:
    hidden_progress_bar = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(hidden_progress_bar):
            warnings.simplefilter("ignore")
            model = psf.create_psf_model(image, obj=stars, fwhm=fwhm, size=size)
            profile: Plane = psf.get_psf_stamp(model, dx=0, dy=0)
    except (ValueError, RuntimeError, np.linalg.LinAlgError):
        return None
    centre = profile[size // 2, size // 2]
    if profile.shape != (size, size) or not np.isfinite(profile).all() or centre < profile.max():
        return None
    profile = np.clip(profile, 0, None)
    return np.asarray(profile / profile.sum())
