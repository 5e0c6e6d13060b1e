"""SkyBoT's cone search, as astroquery asks it."""

from __future__ import annotations

import io

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

from skyrelay.imaging.votable import write_votable
from tests.sky.heavens import Body, Heavens
from tests.sky.messages import Answer, Question

_VECTORS = ("px", "py", "pz", "vx", "vy", "vz")


def skybot(heavens: Heavens, question: Question) -> Answer:
    """The bodies in a cone at a time, as a VOTable with sexagesimal positions."""
    query = question.query
    centre = SkyCoord(float(query["-ra"]), float(query["-dec"]), unit="deg")
    epoch = float(query["-ep"])
    rows = [_row(body, epoch, centre) for body in heavens.bodies]
    rows = [row for row in rows if row["angdist"] < 3600 * float(query["-rd"])]
    if not rows:
        return Answer(_NOTHING, "text/xml")
    content = io.BytesIO()
    write_votable(Table(rows), content)
    return Answer(content.getvalue(), "text/xml")


_NOTHING = b"""<?xml version="1.0" encoding="UTF-8"?>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">
 <RESOURCE type="results">
  <INFO name="QUERY_STATUS" value="ERROR">No solar system object was found in the field</INFO>
 </RESOURCE>
</VOTABLE>
"""


def _row(body: Body, epoch: float, centre: SkyCoord) -> dict[str, object]:
    ra, dec = body.at(epoch)
    place = SkyCoord(ra, dec, unit="deg")
    return {
        "num": "4242",
        "name": body.name,
        "ra": place.ra.to_string("hourangle", sep=" ", precision=4, pad=True),
        "de": place.dec.to_string("deg", sep=" ", precision=3, pad=True, alwayssign=True),
        "class": "MB>Outer",
        "magV": body.magnitude,
        "errpos": 0.05,
        "angdist": float(np.asarray(centre.separation(place).arcsec)),
        "dracosdec": body.rate_ra,
        "ddec": body.rate_dec,
        "dgeo": 1.8,
        "dhelio": 2.7,
        "phase": 8.0,
        "solelong": 150.0,
        **dict.fromkeys(_VECTORS, 0.1),
        "jdref": epoch,
    }
