"""Which stars are in the field: how many, how bright, of what colour?

Counts follow a power law of magnitude, as they do at intermediate galactic latitude between
r = 11 and 22 (Bahcall & Soneira 1980, ApJS 44, 73; Juric et al. 2008, ApJ 673, 864). Colours
lie on the stellar locus of Juric et al. 2008, with the blue peak of turn-off stars and the red
peak of M dwarfs, whose part grows towards faint magnitudes. The i-z colour goes with r-i as on
the locus of Covey et al. 2007 (AJ 134, 2398).
"""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from skyrelay.synthetic.spec import TEMPLATE_MARGIN, FieldSpec

Values = NDArray[np.float64]

#: d log10 N / dm of the stars.
COUNTS_SLOPE = 0.23

#: The brightest star of the field, r mag: brighter ones nobody would point at.
BRIGHTEST = 10.5

#: Intrinsic width of the stellar locus in g-r at given r-i, mag.
LOCUS_WIDTH = 0.03


def make_stars(spec: FieldSpec) -> Table:
    """The stars in and around the field: id, ra, dec (degrees), g, r, i, z (mag)."""
    rng = spec.rng("stars")
    density = spec.star_density * spec.crowding * 10 ** (COUNTS_SLOPE * (spec.faintest - 20))
    count = int(rng.poisson(density * area(spec)))
    r = draw_magnitudes(rng, count, COUNTS_SLOPE, BRIGHTEST, spec.faintest)
    ri = _draw_ri(rng, r)
    gr = stellar_locus(ri) + rng.normal(0, LOCUS_WIDTH, count)
    iz = 0.54 * ri - 0.02 + rng.normal(0, LOCUS_WIDTH, count)
    ra, dec = scatter(spec, rng, count)
    return Table(
        {
            "id": np.arange(count),
            "ra": ra,
            "dec": dec,
            "g": r + gr,
            "r": r,
            "i": r - ri,
            "z": r - ri - iz,
        }
    )


def stellar_locus(ri: Values) -> Values:
    """g-r of a star from its r-i (Juric et al. 2008, ApJ 673, 864, equation 4)."""
    exponent = -4.9 * ri**3 - 2.45 * ri**2 - 1.68 * ri - 0.050
    locus: Values = 1.39 * (1 - np.exp(exponent))
    return locus


def draw_magnitudes(
    rng: np.random.Generator, count: int, slope: float, bright: float, faint: float
) -> Values:
    """`count` magnitudes from `bright` to `faint` with counts that grow as 10 ** (slope m)."""
    low, high = 10 ** (slope * (bright - faint)), 1.0
    magnitudes: Values = faint + np.log10(rng.uniform(low, high, count)) / slope
    return magnitudes


def side(spec: FieldSpec) -> float:
    """Side of the square of sky (degrees) that holds both exposures at any rotation."""
    height, width = spec.shape
    pixels = np.hypot(width, height) * TEMPLATE_MARGIN
    return float(pixels * spec.pixel_scale + 2 * max(map(abs, spec.template_offset))) / 3600


def area(spec: FieldSpec) -> float:
    """Square degrees of the sky that is filled."""
    return side(spec) ** 2


def scatter(spec: FieldSpec, rng: np.random.Generator, count: int) -> tuple[Values, Values]:
    """Random positions (ra, dec in degrees), uniform on the sky around the field."""
    half = side(spec) / 2
    south, north = np.sin(np.radians([spec.dec - half, spec.dec + half]))
    dec = np.degrees(np.arcsin(rng.uniform(south, north, count)))
    ra = spec.ra + rng.uniform(-half, half, count) / np.cos(np.radians(spec.dec))
    return ra % 360, dec


def _draw_ri(rng: np.random.Generator, r: Values) -> Values:
    # Half of the stars at r = 20 are redder than g-r = 1, one in five at r = 14.
    red = rng.uniform(size=r.size) < np.clip(0.2 + 0.05 * (r - 14), 0.1, 0.6)
    turn_off = 0.08 + rng.gamma(2.0, 0.055, r.size)
    dwarfs = rng.normal(1.0, 0.35, r.size)
    return np.clip(np.where(red, dwarfs, turn_off), 0.0, 2.2)
