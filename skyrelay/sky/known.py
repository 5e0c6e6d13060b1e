"""Which detections are already known to the surveys, or belong to the Solar system?

These are asked over the network. No answer is not a failure: the stage goes on without, and says
that its result lacks it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from astropy.table import Table
from astropy.time import Time
from numpy.typing import NDArray
from stdpipe.astrometry import get_objects_center, spherical_match

from skyrelay.errors import Permanent, Retriable
from skyrelay.sky.columns import floats
from skyrelay.sky.filters import FILTERS
from skyrelay.sky.healpix import Cone
from skyrelay.sky.remote import Remote
from skyrelay.sky.solar_system import bodies_in
from skyrelay.sky.vizier import matches

#: Surveys and the part of the sky they cover (declination from, to).
SURVEYS: tuple[tuple[str, str, float, float], ...] = (
    ("gaiaedr3", "Gaia eDR3", -90.0, 90.0),
    ("ps1", "Pan-STARRS DR1", -30.0, 90.0),
    ("skymapper", "SkyMapper DR4", -90.0, 0.0),
    ("II/371/des_dr2", "DES DR2", -90.0, 0.0),
)
#: SkyBoT's positions are good to a few arcsec; asteroids move during the exposure.
_SKYBOT_RADIUS = 10 / 3600
#: Filters of surveys that stand for one that a survey does not have, the nearest first.
_STAND_INS = {
    "U": ("u", "g", "BP"), "B": ("g", "BP"), "V": ("g", "G", "BP"), "R": ("r", "G"),
    "I": ("i", "RP"), "u": ("g", "BP"), "g": ("BP",), "r": ("G",), "i": ("RP",), "z": ("RP",),
    "y": ("z", "RP"), "G": ("r",), "BP": ("g",), "RP": ("i",),
}  # fmt: skip
#: From so many common objects on, the zero points of image and survey are compared.
_ENOUGH = 10

Known = NDArray[np.bool_]
_ID = "skyrelay_id"


def in_surveys(
    objects: Table,
    radius: float,
    remote: Remote,
    degrade: Callable[[str], None],
    is_same: Callable[[Table, Table], Known] | None = None,
) -> Known:
    """Which objects (``ra``, ``dec``) a survey in VizieR has within ``radius`` degrees.

    Parameters
    ----------
    is_same : callable, optional
        ``(objects, matches) -> bool array`` for rows of both tables that belong to each other:
        whether the match really is the object. All are, if not given.
    """
    known = np.zeros(len(objects), dtype=bool)
    if not len(objects):
        return known
    declination = float(np.median(np.asarray(objects["dec"], dtype=float)))
    surveys = [each for each in SURVEYS if each[2] < declination <= each[3]]
    for number, (survey, title, *_) in enumerate(surveys):
        open_ = np.flatnonzero(~known)
        if not len(open_):
            break
        asked = Table(
            {name: np.round(np.asarray(objects[name], float)[open_], 7) for name in ("ra", "dec")}
        )
        asked[_ID] = open_
        try:
            found = matches(remote, asked, survey, radius)
        except (Permanent, Retriable) as error:
            # They are all asked at one and the same place.
            missing = ", ".join(each[1] for each in surveys[number:])
            degrade(f"Candidates are not compared with {missing}: {error}")
            break
        if len(found):
            rows = np.asarray(found[_ID], dtype=int)
            if is_same is not None:
                rows = rows[is_same(objects[rows], found)]
            known[rows] = True
        remote.log(f"{title} knows {int(known[open_].sum())} of {len(open_)}")
    return known


def is_as_bright(objects: Table, found: Table, filter_name: str, most: float) -> Known:
    """Whether objects are at most ``most`` mag brighter than the entries of a survey say.

    Without a magnitude in the survey nothing speaks against it.

    Parameters
    ----------
    objects, found : Table
        Rows that belong to each other; ``mag_calib`` of the objects is in ``filter_name``.
    """
    magnitude = _magnitudes(found, filter_name)
    if magnitude is None:
        return np.ones(len(objects), dtype=bool)
    brighter = magnitude - floats(objects["mag_calib"])
    measured = np.isfinite(brighter)
    if measured.sum() > _ENOUGH:
        brighter = brighter - np.median(brighter[measured])
    return ~(brighter > most)


def _magnitudes(found: Table, filter_name: str) -> NDArray[np.float64] | None:
    """A survey's magnitudes in a filter, or in the nearest that it has."""
    for band in (filter_name, *_STAND_INS.get(filter_name, ())):
        gaia = f"phot_{band.lower()}_mean_mag" if band in ("G", "BP", "RP") else ""
        for column in (FILTERS[band].column, f"{band}PSF", gaia):
            if column in found.colnames:
                return floats(found[column])
    return None


def in_solar_system(
    objects: Table, time: Time | None, remote: Remote, degrade: Callable[[str], None]
) -> Known:
    """Which objects are where SkyBoT has a body of the Solar system at ``time``."""
    known = np.zeros(len(objects), dtype=bool)
    if not len(objects):
        return known
    if time is None:
        degrade("Candidates are not compared with SkyBoT: the time of the image is unknown.")
        return known
    ra, dec, radius = get_objects_center(objects)
    try:
        bodies = bodies_in(remote, Cone(ra % 360, dec, radius + 2 * _SKYBOT_RADIUS), time)
    except (Permanent, Retriable) as error:
        degrade(f"Candidates are not compared with SkyBoT: {error}")
        return known
    if len(bodies):
        rows, *_ = spherical_match(
            objects["ra"], objects["dec"], bodies["ra"], bodies["dec"], _SKYBOT_RADIUS
        )
        known[rows] = True
    remote.log(f"SkyBoT knows {int(known.sum())} of {len(objects)}")
    return known
