"""Which stars are known in a field, how bright are they, and who says so?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from stdpipe import astrometry, catalogs

from skyrelay.errors import Permanent
from skyrelay.records import SkyField
from skyrelay.settings import Settings
from skyrelay.sky.columns import floats, position_error, without_objects
from skyrelay.sky.filters import FILTERS
from skyrelay.sky.healpix import Cone
from skyrelay.sky.local_catalogue import find_catalogue, read_catalogue
from skyrelay.sky.remote import Remote
from skyrelay.sky.surveys import CATALOGUES, JOHNSON
from skyrelay.sky.vizier import entries_in

LOCAL = "local"

#: Error of single magnitudes for which a catalogue gives none, in mag.
_MISSING_ERROR = 0.1


@dataclass(frozen=True)
class Columns:
    """Columns of a catalogue for a filter: magnitude, its error, the two of the colour."""

    mag: str
    mag_err: str | None
    color_mag1: str | None
    color_mag2: str | None

    @property
    def color_name(self) -> str:
        """The colour as one writes it (``g - r``); empty if there is none."""
        if self.color_mag1 is None or self.color_mag2 is None:
            return ""
        return f"{self.color_mag1.removesuffix('mag')} - {self.color_mag2.removesuffix('mag')}"


def get_catalogue(
    name: str,
    field: SkyField,
    filter_name: str,
    *,
    limit: float | None,
    cat_file: str | None,
    task_folder: Path,
    settings: Settings,
    remote: Remote,
) -> Table:
    """Stars of the catalogue ``name`` in a field.

    Parameters
    ----------
    name : str
        A key of `CATALOGUES`, or ``local``.
    field : SkyField
        The field; its radius is widened a little, for the errors of its position.
    filter_name : str
        Filter of the image.
    limit : float, optional
        Faintest magnitude to ask VizieR for.

    Returns
    -------
    Table
        ``RAJ2000``, ``DEJ2000`` and, if known, their errors ``e_RAJ2000``, ``e_DEJ2000`` in
        degrees; ``<filter>mag``, ``e_<filter>mag`` in mag.

    Raises
    ------
    Permanent
        If the catalogue has no stars in the field, or not in this filter, or is unknown.
    Retriable
        If it could not be had just now.
    """
    cone, log = Cone(field.ra, field.dec, field.radius * 1.05 + 10 / 3600), remote.log
    if name == LOCAL:
        path = find_catalogue(cat_file or "", task_folder, settings)
        log(f"Reading the catalogue {path.name}")
        stars = read_catalogue(path, filter_name, cone)
        log(f"Read {len(stars)} stars of it; columns {', '.join(stars.colnames)}")
        near = astrometry.spherical_distance(
            cone.ra, cone.dec, np.asarray(stars["RAJ2000"]), np.asarray(stars["DEJ2000"])
        )
        stars = stars[near < cone.radius]
    else:
        stars = _from_vizier(remote, name, cone, filter_name, limit)
    if not len(stars):
        title = cat_file if name == LOCAL else CATALOGUES[name].title
        raise Permanent(
            f"The catalogue {title} has no stars in the field"
            f" (RA {cone.ra:.4f} Dec {cone.dec:+.4f}, radius {cone.radius:.3f} deg)."
        )
    log(f"{len(stars)} catalogue stars in the field")
    return stars


def columns_for(stars: Table, filter_name: str, catalogue: str) -> Columns:
    """The columns that calibrate images in a filter.

    Where a catalogue has only Sloan-like magnitudes, those of Johnson and Cousins are derived.
    Single missing errors of the magnitudes are filled in.

    Raises
    ------
    Permanent
        If the catalogue has no such magnitude.
    """
    wanted = FILTERS[filter_name].column
    if wanted not in stars.colnames and {"gmag", "rmag", "imag", "zmag"} <= set(stars.colnames):
        if filter_name in JOHNSON:
            catalogs.augment_cat_bands(stars, catalog="ps1")
    if wanted not in stars.colnames or not np.any(_finite(stars[wanted])):
        known = [each.name for each in FILTERS.values() if each.column in stars.colnames]
        raise Permanent(
            f"The catalogue {catalogue} has no magnitudes in the filter {filter_name}, "
            f"only in {', '.join(known) or 'none that is known'}; choose another catalogue or "
            "filter."
        )
    error = _usable_error(stars, wanted)
    for one, two in FILTERS[filter_name].colors:
        pair = (FILTERS[one].column, FILTERS[two].column)
        if set(pair) <= set(stars.colnames):
            both = _finite(stars[pair[0]]) & _finite(stars[pair[1]]) & _finite(stars[wanted])
            if both.sum() > 0.5 * _finite(stars[wanted]).sum():
                return Columns(wanted, error, *pair)
    return Columns(wanted, error, None, None)


def _from_vizier(
    remote: Remote, name: str, cone: Cone, filter_name: str, limit: float | None
) -> Table:
    survey = CATALOGUES.get(name)
    if survey is None:
        raise Permanent(f"The catalogue '{name}' is unknown; known are {', '.join(CATALOGUES)}.")
    if filter_name not in survey.filters:
        raise Permanent(
            f"The catalogue {survey.title} has no magnitudes in the filter {filter_name}, "
            f"only in {', '.join(survey.filters)}; choose another catalogue or filter."
        )
    filters = {survey.limit_column: f"<{limit}"} if limit is not None else {}
    remote.log(f"Catalogue {survey.title} of VizieR {filters or ''}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tidied(entries_in(remote, name, cone, filters), survey.title)


def tidied(stars: Table, title: str) -> Table:
    """A table of VizieR as one is used here: position errors in degrees, no Python objects."""
    for column in ("e_RAJ2000", "e_DEJ2000"):
        if column in stars.colnames:
            stars[column] = position_error(stars[column])
    stars.meta["name"] = title
    return without_objects(stars)


def _usable_error(stars: Table, magnitude: str) -> str | None:
    """The column of a magnitude's error, completed; None if it has no sensible value at all."""
    name = f"e_{magnitude}"
    if name not in stars.colnames:
        return None
    errors = floats(stars[name])
    known = np.isfinite(errors) & (errors > 0)
    if not np.any(known & _finite(stars[magnitude])):
        return None
    stars[name] = np.where(known, errors, _MISSING_ERROR)
    return name


def _finite(column: Any) -> Any:
    return np.isfinite(floats(column))
