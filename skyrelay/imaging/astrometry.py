"""Where does the image lie exactly, and how well does it fit the catalogue?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from stdpipe import astrometry, pipeline

from skyrelay.imaging.arrays import Log
from skyrelay.imaging.flags import BLENDED
from skyrelay.imaging.wcs import wcs_of
from skyrelay.parameters.table import PARAMETERS
from skyrelay.settings import Settings
from skyrelay.sky.catalogues import Columns
from skyrelay.sky.columns import floats

#: Ways to refine a solution, in the order in which they stand in for each other.
METHODS = PARAMETERS["refine_method"].choices
#: What the atmosphere adds to the errors of centroids, in px.
_CENTROID_FLOOR = 0.02
#: Match radius, in degrees, of the methods that do not shift the whole image first.
_PATTERN_RADIUS = 5 / 3600
#: Reference stars given to the refinement, the brightest; more only cost time.
_MOST_STARS = 5000


@dataclass(frozen=True)
class Fit:
    """How well detections lie on catalogue stars under some solution.

    Attributes
    ----------
    matched : int
        Number of pairs.
    rms : float
        Residual per coordinate, quadratic mean of both, in arcsec.
    """

    matched: int
    rms: float

    def is_worse_than(self, other: Fit) -> bool:
        """Whether it lost pairs, or has equally many and lies farther from them."""
        if self.matched < 0.9 * other.matched:
            return True
        return self.matched <= 1.1 * other.matched and self.rms > 1.1 * other.rms


def residuals(objects: Table, stars: Table, wcs: WCS, radius: float) -> Fit:
    """Residuals of mutual nearest neighbours within ``radius`` (degrees)."""
    ra, dec = wcs.all_pix2world(objects["x"], objects["y"], 0)
    return _fit_of(*_neighbours(ra, dec, stars, radius), ra, dec, stars)


def refine(
    objects: Table,
    stars: Table,
    columns: Columns,
    wcs: WCS,
    *,
    method: str,
    order: int,
    fwhm: float,
    settings: Settings,
    temporary: Path,
    log: Log,
) -> tuple[WCS, str] | None:
    """A better solution than ``wcs`` and the method that found it; None where none was found.

    The method asked for is tried first, then the others. What matches fewer stars, or lies
    farther from them, than the solution it started from is not taken.

    Parameters
    ----------
    fwhm : float
        FWHM of the stars in degrees; it sets the match radius.
    """
    good = objects[(np.asarray(objects["flags"]) & ~BLENDED) == 0]
    if len(good) < 5:
        log(f"The solution is not refined: {len(good)} clean objects are too few")
        return None
    reference = _brightest(stars, columns)
    radius = max(fwhm, 1 / 3600)
    before = residuals(good, stars, wcs, radius)
    log(f"Before refinement: {before.matched} pairs, {before.rms:.3f} arcsec rms")
    for name in dict.fromkeys((method, *METHODS)):
        found = _refine_by(
            name, good.copy(), reference, columns, wcs, order, radius, settings, temporary, log
        )
        if found is None:
            log(f"Refinement by {name} failed")
            continue
        after = residuals(good, stars, found, radius)
        log(f"After refinement by {name}: {after.matched} pairs, {after.rms:.3f} arcsec rms")
        if after.matched >= 3 and not after.is_worse_than(before):
            return found, name
        log(f"Refinement by {name} made it worse: not taken")
    return None


def _refine_by(
    method: str,
    objects: Table,
    stars: Table,
    columns: Columns,
    wcs: WCS,
    order: int,
    radius: float,
    settings: Settings,
    temporary: Path,
    log: Log,
) -> WCS | None:
    options: dict[str, Any] = {}
    if method == "scamp":
        options = {
            "pos_err_floor": _CENTROID_FLOOR,
            "_tmpdir": str(temporary),
            "_exe": settings.stdpipe_scamp,
        }
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = pipeline.refine_astrometry(
                objects,
                stars,
                sr=radius if method == "scamp" else max(radius, _PATTERN_RADIUS),
                wcs=wcs,
                order=order,
                cat_col_mag=columns.mag,
                cat_col_mag_err=columns.mag_err,
                method=method,
                verbose=log,
                **options,
            )
        except Exception as error:
            # Pattern matching has many ways to fail on odd fields; each means: not this way.
            log(f"{method}: {error}")
            return None
    return None if found is None else wcs_of(found.to_header(relax=True))


def _brightest(stars: Table, columns: Columns) -> Table:
    magnitudes = floats(stars[columns.mag])
    order = np.argsort(magnitudes)[: np.count_nonzero(np.isfinite(magnitudes))]
    return stars[order[:_MOST_STARS]]


def _neighbours(ra: Any, dec: Any, stars: Table, radius: float) -> tuple[Any, Any]:
    """Indices of objects and stars that are each other's nearest within ``radius``."""
    one, two, distance = astrometry.spherical_match(
        ra, dec, stars["RAJ2000"], stars["DEJ2000"], radius
    )
    order = np.argsort(distance)
    one, two = one[order], two[order]
    first_one = np.zeros(len(one), bool)
    first_two = np.zeros(len(one), bool)
    first_one[np.unique(one, return_index=True)[1]] = True
    first_two[np.unique(two, return_index=True)[1]] = True
    both = first_one & first_two
    return one[both], two[both]


def _fit_of(one: Any, two: Any, ra: Any, dec: Any, stars: Table) -> Fit:
    if not len(one):
        return Fit(0, float("inf"))
    return Fit(len(one), float(np.sqrt(np.mean(offsets(ra[one], dec[one], stars[two]) ** 2))))


def offsets(ra: Any, dec: Any, stars: Table) -> Any:
    """Offsets of positions from their stars in arcsec: array of shape (2, n), east and north."""
    star_ra, star_dec = np.asarray(stars["RAJ2000"]), np.asarray(stars["DEJ2000"])
    east = (np.asarray(ra) - star_ra + 180) % 360 - 180
    return 3600 * np.array([east * np.cos(np.radians(star_dec)), np.asarray(dec) - star_dec])
