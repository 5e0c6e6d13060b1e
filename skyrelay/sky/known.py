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
from stdpipe import catalogs

#: Surveys and the part of the sky they cover (declination from, to).
SURVEYS: tuple[tuple[str, str, float, float], ...] = (
    ("gaiaedr3", "Gaia eDR3", -90.0, 90.0),
    ("ps1", "Pan-STARRS DR1", -30.0, 90.0),
    ("skymapper", "SkyMapper DR4", -90.0, 0.0),
    ("II/371/des_dr2", "DES DR2", -90.0, 0.0),
)
#: SkyBoT's positions are good to a few arcsec; asteroids move during the exposure.
_SKYBOT_RADIUS = 10 / 3600

Known = NDArray[np.bool_]
_ID = "skyrelay_id"


def in_surveys(
    objects: Table,
    radius: float,
    log: Callable[..., object],
    degrade: Callable[[str], None],
    is_same: Callable[[Table, Table, str], Known] | None = None,
) -> Known:
    """Which objects (``ra``, ``dec``) a survey in VizieR has within ``radius`` degrees.

    Parameters
    ----------
    is_same : callable, optional
        ``(objects, matches, survey) -> bool array`` for rows of both tables that belong to each
        other: whether the match really is the object. All are, if not given.
    """
    known = np.zeros(len(objects), dtype=bool)
    for survey, title, south, north in SURVEYS:
        open_ = np.flatnonzero(~known)
        if not len(open_):
            break
        declination = float(np.median(np.asarray(objects["dec"], dtype=float)))
        if not south < declination <= north:
            continue
        asked = Table({name: np.asarray(objects[name], float)[open_] for name in ("ra", "dec")})
        asked[_ID] = open_
        try:
            matches = catalogs.xmatch_objects(asked, survey, radius)
        except Exception as error:  # the network fails in too many ways to name them
            degrade(f"Candidates are not compared with {title}: it does not answer ({error}).")
            continue
        if matches is not None and len(matches):
            rows = np.asarray(matches[_ID], dtype=int)
            if is_same is not None:
                rows = rows[is_same(objects[rows], matches, survey)]
            known[rows] = True
        log(f"{title} knows {int(known[open_].sum())} of {len(open_)}")
    return known


def in_solar_system(
    objects: Table,
    time: Time | None,
    log: Callable[..., object],
    degrade: Callable[[str], None],
) -> Known:
    """Which objects are where SkyBoT has a body of the Solar system at ``time``."""
    known = np.zeros(len(objects), dtype=bool)
    if not len(objects):
        return known
    if time is None:
        degrade("Candidates are not compared with SkyBoT: the time of the image is unknown.")
        return known
    asked = objects["ra", "dec"].copy()
    asked[_ID] = np.arange(len(objects))
    try:
        bodies = catalogs.xmatch_skybot(asked, sr=_SKYBOT_RADIUS, time=time, col_id=_ID)
    except Exception as error:  # the network fails in too many ways to name them
        degrade(f"Candidates are not compared with SkyBoT: it does not answer ({error}).")
        return known
    if bodies is not None:
        rows = np.ma.asarray(bodies[_ID]).compressed().astype(int)
        known[rows] = True
    log(f"SkyBoT knows {int(known.sum())} of {len(objects)}")
    return known
