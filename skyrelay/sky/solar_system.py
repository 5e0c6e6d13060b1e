"""Which bodies of the Solar system are in a cone at a time? SkyBoT knows."""

from __future__ import annotations

from typing import IO

import astropy.units as u
import numpy as np
from astropy.coordinates import Angle, SkyCoord
from astropy.table import Table
from astropy.time import Time
from astroquery.imcce import Skybot
from stdpipe.astrometry import spherical_distance

from skyrelay.sky.healpix import Cone
from skyrelay.sky.remote import BadAnswer, Remote, Request, answers
from skyrelay.sky.remote.services import SKYBOT

#: SkyBoT takes no larger cones, in degrees.
LARGEST = 10.0


def bodies_in(remote: Remote, cone: Cone, time: Time) -> Table:
    """``name``, ``ra``, ``dec`` (degrees) and ``V`` (mag) of the bodies in a cone.

    Raises
    ------
    Permanent, Retriable
        As `Remote.fetch` does.
    """
    rounded = cone.rounded()
    epoch = Time(round(float(time.utc.unix)), format="unix", scale="utc")
    params = Skybot.cone_search(
        SkyCoord(rounded.ra, rounded.dec, unit="deg"),
        min(rounded.radius, LARGEST) * u.deg,
        epoch,
        get_query_payload=True,
    )
    bodies = remote.fetch(SKYBOT, Request(params=params), _bodies)
    if not len(bodies):
        return bodies
    distance = spherical_distance(cone.ra, cone.dec, bodies["ra"], bodies["dec"])
    return bodies[distance < cone.radius]


def _bodies(file: IO[bytes]) -> Table:
    answer = answers.table(file)
    if not len(answer):
        return Table({"name": np.zeros(0, "U1"), "ra": [], "dec": [], "V": []})
    if not {"name", "ra", "de"} <= set(answer.colnames):
        raise BadAnswer("a table without positions")
    try:
        # Hours and degrees, sexagesimal.
        ra, dec = (
            Angle([str(text) for text in answer[name]], unit=unit).deg
            for name, unit in (("ra", u.hourangle), ("de", u.deg))
        )
    except ValueError as error:
        raise BadAnswer(f"positions that cannot be understood ({error})") from None
    magnitude = answer["magV"] if "magV" in answer.colnames else np.full(len(answer), np.nan)
    return Table(
        {
            "name": [str(each) for each in answer["name"]],
            "ra": ra,
            "dec": dec,
            "V": np.ma.filled(np.ma.asarray(magnitude, dtype=float), np.nan),
        }
    )
