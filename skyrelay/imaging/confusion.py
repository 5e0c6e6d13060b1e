"""How much do fluxes scatter by the light of stars that are too faint to be seen?

Where nothing was detected there is still starlight, in one aperture more than in the next. It is in
the apertures of the detected stars as well, without any flag, and no error that is made of photons
and of the level of the sky knows of it. So apertures are laid where nothing was detected: what
their fluxes scatter by beyond their errors is the confusion (Condon 1974, ApJ 188, 279), and
whatever else correlates the noise of neighbouring pixels (Labbe et al. 2003, AJ 125, 1107).
"""

from __future__ import annotations

import numpy as np
from astropy.stats import mad_std
from astropy.table import Table
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from skyrelay.imaging.apertures import Apertures, Exposure, measure
from skyrelay.imaging.arrays import Log
from skyrelay.imaging.flags import APERTURE_INCOMPLETE, APERTURE_MASKED

#: Apertures that are laid: a scatter of so many is known to two per cent.
_PLACES = 3000
#: Fewer apertures than this in empty places do not give a scatter.
_LEAST_PLACES = 50
#: No detection is closer to an aperture's edge than this, in FWHM: light of it would be in the
#: aperture, but a star next to it would be flagged.
_APART = 1.0
#: In a field so crowded that no place is that far from all detections, this part of them is taken,
#: which is the emptiest.
_EMPTIEST = 0.1
#: Broken pixels, masked ones, or the edge of the image in an aperture.
_UNUSABLE = APERTURE_MASKED | APERTURE_INCOMPLETE


def confusion_noise(objects: Table, exposure: Exposure, apertures: Apertures, *, log: Log) -> float:
    """Scatter of fluxes (ADU, one sigma) beyond the errors that `measure` gives them.

    Parameters
    ----------
    objects : Table
        All detections, with ``x`` and ``y`` in pixels.
    exposure, apertures
        Those by which the objects were measured.
    """
    places = _empty_places(objects, exposure.data.shape, apertures)
    blank = measure(places, exposure, apertures, log=lambda *_: None)
    usable = (np.asarray(blank["flags"]).astype(int) & _UNUSABLE) == 0
    flux, error = (np.asarray(blank[name], float)[usable] for name in ("flux", "bg_fluxerr"))
    known = np.isfinite(flux) & np.isfinite(error)
    if known.sum() < _LEAST_PLACES:
        log(f"Confusion is not measured: only {known.sum()} apertures show nothing")
        return 0.0
    expected = float(np.median(error[known] ** 2))
    confusion = float(np.sqrt(max(mad_std(flux[known]) ** 2 - expected, 0.0)))
    log(f"Unseen stars scatter the fluxes by {confusion:.1f} ADU, beside {expected**0.5:.1f} ADU "
        f"of the sky's noise: {known.sum()} apertures show it")  # fmt: skip
    return confusion


def _empty_places(objects: Table, shape: tuple[int, int], apertures: Apertures) -> Table:
    """Positions far from all detections; the same ones for the same objects."""
    rng = np.random.default_rng(0)
    margin = apertures.radius + 1
    x, y = (rng.uniform(margin, max(length - margin, margin), _PLACES) for length in shape[::-1])
    distance = _distances(objects, x, y)
    wanted = apertures.radius + _APART * apertures.fwhm
    empty = distance >= min(wanted, float(np.quantile(distance, 1 - _EMPTIEST)))
    return Table({"x": x[empty], "y": y[empty], "flags": np.zeros(int(empty.sum()), np.int32)})


def _distances(
    objects: Table, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """From every position to the nearest object."""
    tree = cKDTree(np.stack([np.asarray(objects["x"], float), np.asarray(objects["y"], float)], 1))
    return np.asarray(tree.query(np.stack([x, y], axis=1))[0])
