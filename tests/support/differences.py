"""Do apertures on a difference image scatter by the noise that is claimed?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.stats import mad_std
from photutils.aperture import CircularAperture

from skyrelay import products

#: Apertures that are laid at random.
_COUNT = 2000


def aperture_pull(folder: Path, radius: float) -> float:
    """Scatter of the light in apertures (radius in pixels) in units of its claimed error."""
    difference, noise, mask = (
        np.asarray(fits.getdata(folder / name), dtype=float)
        for name in (products.SUB_DIFFERENCE, products.SUB_NOISE, products.SUB_MASK)
    )
    rows, columns = difference.shape
    rng = np.random.default_rng(0)
    places = rng.uniform(radius, np.array([columns, rows]) - radius, (_COUNT, 2))
    apertures = CircularAperture(places, radius)
    whole = apertures.do_photometry(mask)[0] == 0
    light = apertures.do_photometry(difference)[0][whole]
    variance = apertures.do_photometry(np.nan_to_num(noise) ** 2)[0][whole]
    return float(mad_std(light / np.sqrt(variance)))
