"""What does a survey's catalogue say of this field?

Stars and galaxies down to the survey's depth, with positions and magnitudes that are a little
wrong and errors that say by how much. Galaxies are measured worse than stars, as in real
catalogues, where nothing marks them.
"""

from __future__ import annotations

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table, vstack

from skyrelay.synthetic.population import Values, side
from skyrelay.synthetic.spec import BANDS, FieldSpec

#: Error of the best-measured stars, mag.
FLOOR = 0.005
#: A source is listed if its error in r is below this, and has a band if below the other, mag.
DETECTION, MEASUREMENT = 0.2, 0.35
#: Depth of each band relative to r, mag.
RELATIVE_DEPTH = {"g": 0.3, "r": 0.0, "i": -0.2, "z": -0.8}
#: What a galaxy adds: scatter of its magnitudes (mag), and a factor on its position error.
GALAXY_SCATTER, GALAXY_POSITION = 0.05, 3.0
#: Position error of a source in arcsec per mag of magnitude error.
POSITION_PER_MAG = 0.5


def observe_catalogue(spec: FieldSpec, stars: Table, galaxies: Table) -> Table:
    """The reference catalogue of the field.

    Columns: ra, dec (degrees), e_ra, e_dec (arcsec), and gmag, e_gmag, ... zmag, e_zmag (mag;
    NaN where the band is too faint to be measured).
    """
    rng = spec.rng("catalogue")
    extended = np.repeat([False, True], [len(stars), len(galaxies)])
    names = ["ra", "dec", *BANDS]
    sources = vstack([stars[names], galaxies[names]], metadata_conflicts="silent")
    listed = _error(sources["r"], spec.catalogue_depth) < DETECTION
    listed &= _distance(spec, sources) < side(spec) / 2
    sources, extended = sources[listed], extended[listed]
    catalogue = Table()
    error_r = _error(sources["r"], spec.catalogue_depth)
    position = np.hypot(spec.catalogue_position_error, POSITION_PER_MAG * error_r)
    position = position * np.where(extended, GALAXY_POSITION, 1.0)
    east, north = rng.normal(0, position / 3600, (2, len(sources)))
    catalogue["ra"] = (sources["ra"] + east / np.cos(np.radians(sources["dec"]))) % 360
    catalogue["dec"] = sources["dec"] + north
    catalogue["e_ra"] = catalogue["e_dec"] = position
    for band in BANDS:
        error = _error(sources[band], spec.catalogue_depth + RELATIVE_DEPTH[band])
        error = np.hypot(error, np.where(extended, GALAXY_SCATTER, 0.0))
        measured = error < MEASUREMENT
        magnitude = sources[band] + rng.normal(0, error)
        catalogue[f"{band}mag"] = np.where(measured, magnitude, np.nan)
        catalogue[f"e_{band}mag"] = np.where(measured, error, np.nan)
    _describe(catalogue)
    return catalogue[np.argsort(catalogue["rmag"])]


def _error(magnitude: Values, depth: float) -> Values:
    error: Values = np.hypot(FLOOR, 0.2 * 10 ** (0.4 * (np.asarray(magnitude) - depth)))
    return error


def _distance(spec: FieldSpec, sources: Table) -> Values:
    centre = SkyCoord(spec.ra, spec.dec, unit="deg")
    distance = centre.separation(SkyCoord(sources["ra"], sources["dec"], unit="deg"))
    return np.asarray(distance.deg)


def _describe(catalogue: Table) -> None:
    for name in catalogue.colnames:
        unit = "deg" if name in ("ra", "dec") else "mag" if "mag" in name else "arcsec"
        catalogue[name].unit = unit
