"""Which galaxies are in the field: how many, how bright, how large, of what shape and colour?

Counts follow the Euclidean slope for bright galaxies and flatten at r = 19 (Yasuda et al. 2001,
AJ 122, 1104). Disc scale lengths follow the size-magnitude relation of Miller et al. 2013
(MNRAS 429, 2858, appendix B), ln(r_d / arcsec) = -1.145 - 0.269 (i - 23); a de Vaucouleurs
galaxy gets that value as half-light radius. Red galaxies are de Vaucouleurs, blue ones
exponential; the two colour peaks are those of Strateva et al. 2001 (AJ 122, 1861).
"""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from skyrelay.synthetic.population import Values, area, draw_magnitudes, scatter
from skyrelay.synthetic.spec import FieldSpec

#: d log10 N / dm on either side of the break, and its r magnitude.
BRIGHT_SLOPE, FAINT_SLOPE, BREAK = 0.60, 0.42, 19.0
BRIGHTEST = 14.5

EARLY_FRACTION = 0.35
#: Half-light radius of an exponential disc in scale lengths.
HALF_LIGHT_OF_DISC = 1.678


def make_galaxies(spec: FieldSpec) -> Table:
    """The galaxies in and around the field.

    Columns: id, ra, dec (degrees), g, r, i, z (mag), sersic (index, 1 or 4), half_light
    (arcsec, along the long axis), axis_ratio, position_angle (degrees, east of north).
    """
    rng = spec.rng("galaxies")
    r = _draw_counts(spec, rng)
    early = rng.uniform(size=r.size) < EARLY_FRACTION
    gr = np.where(early, rng.normal(0.85, 0.10, r.size), rng.normal(0.50, 0.15, r.size))
    ri = np.where(early, 0.38, 0.24) + rng.normal(0, 0.06, r.size)
    iz = np.where(early, 0.28, 0.12) + rng.normal(0, 0.06, r.size)
    scale = np.exp(-1.145 - 0.269 * (r - ri - 23) + rng.normal(0, 0.3, r.size))
    ra, dec = scatter(spec, rng, r.size)
    return Table(
        {
            "id": np.arange(r.size),
            "ra": ra,
            "dec": dec,
            "g": r + gr,
            "r": r,
            "i": r - ri,
            "z": r - ri - iz,
            "sersic": np.where(early, 4.0, 1.0),
            "half_light": np.where(early, 1.0, HALF_LIGHT_OF_DISC) * scale,
            "axis_ratio": np.where(
                early, rng.uniform(0.6, 1.0, r.size), rng.uniform(0.25, 1.0, r.size)
            ),
            "position_angle": rng.uniform(0, 180, r.size),
        }
    )


def _draw_counts(spec: FieldSpec, rng: np.random.Generator) -> Values:
    per_degree_at_break = spec.galaxy_density / 10 ** (FAINT_SLOPE * (20 - BREAK))
    bright = int(rng.poisson(per_degree_at_break * area(spec)))
    growth = 10 ** (FAINT_SLOPE * (spec.faintest - BREAK)) - 1
    faint = int(rng.poisson(per_degree_at_break * max(growth, 0) * area(spec)))
    return np.concatenate(
        [
            draw_magnitudes(rng, bright, BRIGHT_SLOPE, BRIGHTEST, min(BREAK, spec.faintest)),
            draw_magnitudes(rng, faint, FAINT_SLOPE, BREAK, spec.faintest),
        ]
    )
