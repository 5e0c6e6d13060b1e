"""How well was a synthetic observation measured and searched?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from skyrelay.synthetic.truth import ImageTruth, Truth
from skyrelay.synthetic.wcs import to_pixels

#: Bounds of the S/N classes that results are split by.
SN_BOUNDS = (0.0, 10.0, 20.0, np.inf)

#: A false candidate is put down to something of the truth within this many FWHM.
CAUSE_REACH = 1.5


@dataclass(frozen=True)
class CandidateScore:
    """Which transients were found.

    found: rows of the truth with candidate (row number in the candidates) and distance
    (arcsec); missed: rows of the truth; false: rows of the candidates that belong to no
    transient, with cause (what the truth has at that place); duplicates: how many candidates
    repeat a transient that is found already.
    """

    found: Table
    missed: Table
    false: Table
    duplicates: int

    def counts(
        self, host: str | None = None, sn: tuple[float, float] = (0, np.inf)
    ) -> tuple[int, int]:
        """(found, injected) of the transients of one kind (none or galaxy) and S/N range."""
        found, missed = (_chosen(table, host, sn) for table in (self.found, self.missed))
        return found, found + missed

    def summary(self) -> Table:
        """Rows of host, sn_from, sn_to, injected, found, missed; one per host and S/N class."""
        rows = []
        for host in ("none", "galaxy"):
            for low, high in pairwise(SN_BOUNDS):
                found, injected = self.counts(host, (low, high))
                rows.append((host, low, high, injected, found, injected - found))
        names = ("host", "sn_from", "sn_to", "injected", "found", "missed")
        return Table(rows=rows, names=names)


def score_candidates(truth: Truth, candidates: Table, radius: float = 2.0) -> CandidateScore:
    """Compare candidates (columns ra, dec in degrees) with the transients that were put in.

    A transient is found if a candidate lies within `radius` arcsec; the nearest one is its
    candidate.
    """
    transients = truth.transients
    if len(transients) == 0 or len(candidates) == 0:
        return CandidateScore(
            found=_found(transients, np.zeros(0, int), np.zeros(0, int), np.zeros(0)),
            missed=transients.copy(),
            false=_false(candidates, truth),
            duplicates=0,
        )
    injected, seen = _positions(transients), _positions(candidates)
    nearest, distance, _ = injected.match_to_catalog_sky(seen)
    near = distance.arcsec < radius
    # One candidate serves one transient, the nearer one.
    order = np.argsort(distance.arcsec, kind="stable")
    _, first = np.unique(nearest[order], return_index=True)
    best = np.zeros(len(transients), dtype=bool)
    best[order[first]] = True
    rows = np.flatnonzero(near & best)
    belongs = seen.match_to_catalog_sky(injected)[1].arcsec < radius
    return CandidateScore(
        found=_found(transients, rows, nearest[rows], distance.arcsec[rows]),
        missed=transients[np.setdiff1d(np.arange(len(transients)), rows)],
        false=_false(candidates[~belongs], truth),
        duplicates=int(belongs.sum()) - len(rows),
    )


def zero_point_deviation(
    image: ImageTruth, measured: float, radius: float | None = None, colour: float | None = None
) -> float:
    """Measured zero point minus the true one, mag.

    `measured` belongs to magnitudes of ADU in circular apertures of `radius` pixels (None: the
    total flux), in the convention of stdpipe's `calibrate_photometry` with the colour of
    `image.colour`. If no colour term was fitted, give as `colour` the mean colour of the
    calibration stars: the fit's zero point then holds the colour term times that colour.
    """
    expected = image.zero_point_at(radius)
    if colour is not None:
        expected += image.colour_term * colour
    return measured - expected


def astrometric_residuals(truth: Truth, wcs: WCS, edge: float = 10.0) -> NDArray[np.float64]:
    """Distance in arcsec between a WCS and the true one, on a grid of 11 x 11 positions.

    `edge` pixels along the borders are left out.
    """
    image = truth.science
    x, y = (
        grid.ravel()
        for grid in np.meshgrid(
            np.linspace(edge, image.width - 1 - edge, 11),
            np.linspace(edge, image.height - 1 - edge, 11),
        )
    )
    expected, given = (
        SkyCoord(*each.all_pix2world(x, y, 0), unit="deg") for each in (image.celestial(), wcs)
    )
    return np.asarray(expected.separation(given).arcsec)


def _positions(table: Table) -> SkyCoord:
    return SkyCoord(np.asarray(table["ra"]) * u.deg, np.asarray(table["dec"]) * u.deg)


def _chosen(table: Table, host: str | None, sn: tuple[float, float]) -> int:
    wanted = (np.asarray(table["sn"]) >= sn[0]) & (np.asarray(table["sn"]) < sn[1])
    if host is not None:
        wanted &= np.asarray(table["host"]) == host
    return int(wanted.sum())


def _found(
    transients: Table,
    rows: NDArray[np.intp],
    candidate: NDArray[np.intp],
    distance: NDArray[np.float64],
) -> Table:
    found = transients[rows]
    found["candidate"], found["distance"] = candidate, distance
    return found


def _false(candidates: Table, truth: Truth) -> Table:
    false = candidates.copy()
    if len(false) == 0:
        false["cause"] = np.zeros(0, dtype=str)
        return false
    x, y = to_pixels(truth.science.celestial(), false["ra"], false["dec"])
    false["cause"] = [_cause(a, b, truth) for a, b in zip(x, y, strict=True)]
    return false


def _cause(x: float, y: float, truth: Truth) -> str:
    reach = CAUSE_REACH * truth.science.fwhm
    saturated = truth.stars[np.asarray(truth.stars["saturated"], dtype=bool)]
    # A saturated star spoils a wider neighbourhood than the others.
    if _near(saturated, x, y, 4 * reach):
        return "saturated star"
    if _near(truth.cosmic_rays, x, y, reach + 5):
        return "cosmic ray"
    if any(abs(np.asarray(truth.bad_columns["x"]) - x) < reach):
        return "bad column"
    if _near(truth.galaxies, x, y, reach):
        return "galaxy"
    return "star" if _near(truth.stars, x, y, reach) else "unknown"


def _near(table: Table, x: float, y: float, reach: float) -> bool:
    return bool(np.any(np.hypot(np.asarray(table["x"]) - x, np.asarray(table["y"]) - y) < reach))
