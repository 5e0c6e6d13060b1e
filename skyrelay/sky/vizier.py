"""Which entries does a catalogue of VizieR have in a cone, and which lie near given positions?

What is asked, and under which names, is what stdpipe and astroquery would ask; the answers come
through `Remote`. A cone is asked for rounded, so that all images of a field share the answer.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astroquery.vizier import VizierClass
from stdpipe import catalogs
from stdpipe.astrometry import spherical_distance

from skyrelay.sky.healpix import Cone
from skyrelay.sky.remote import BadAnswer, Remote, Request, answers
from skyrelay.sky.remote.services import VIZIER, XMATCH

#: Columns that every catalogue is asked for; most catalogues have more of their own.
_COLUMNS = ["*", "RAJ2000", "DEJ2000", "e_RAJ2000", "e_DEJ2000"]
#: Arcsec; XMatch refuses larger radii.
_LARGEST_MATCH = 180.0


def entries_in(
    remote: Remote, catalogue: str, cone: Cone, filters: Mapping[str, str] | None = None
) -> Table:
    """Entries of a catalogue, with the magnitudes that stdpipe derives from theirs.

    Parameters
    ----------
    catalogue : str
        Stdpipe's short name (``ps1``) or VizieR's (``II/349/ps1``).
    filters : mapping of str to str
        Conditions by column, as VizieR writes them (``{"rmag": "<20"}``).

    Raises
    ------
    Permanent, Retriable
        As `Remote.fetch` does.
    """
    rounded = cone.rounded()
    known: dict[str, Any] = catalogs.catalogs.get(catalogue, {})
    query = VizierClass(
        columns=[*_COLUMNS, *known.get("extra", ())],
        column_filters=dict(filters or {}),
        row_limit=-1,
    )
    script = query.query_region(
        SkyCoord(rounded.ra, rounded.dec, unit="deg"),
        radius=rounded.radius * u.deg,
        catalog=_id_of(catalogue),
        get_query_payload=True,
    )
    entries = remote.fetch(VIZIER, Request(data=script), answers.table)
    if not len(entries):
        return entries
    _name_positions(entries)
    distance = spherical_distance(
        cone.ra, cone.dec, np.asarray(entries["RAJ2000"]), np.asarray(entries["DEJ2000"])
    )
    entries = entries[distance < cone.radius]
    catalogs.augment_cat_bands(entries, catalog=catalogue if known else None)
    return entries


def matches(remote: Remote, positions: Table, catalogue: str, radius: float) -> Table:
    """Entries of a catalogue within ``radius`` degrees of positions.

    Parameters
    ----------
    positions : Table
        ``ra``, ``dec`` (degrees) and columns that come back with every match.

    Raises
    ------
    Permanent, Retriable
        As `Remote.fetch` does.
    """
    content = io.StringIO()
    positions.write(content, format="ascii.csv")
    request = Request(
        data={
            "request": "xmatch",
            "distMaxArcsec": round(min(3600 * radius, _LARGEST_MATCH), 3),
            "RESPONSEFORMAT": "votable",
            "cat2": f"vizier:{_id_of(catalogue)}",
            "colRA1": "ra",
            "colDec1": "dec",
            "area": "allsky",
        },
        files={"cat1": ("cat1.csv", content.getvalue())},
    )
    found = remote.fetch(XMATCH, request, answers.table)
    if len(found):
        catalogs.augment_cat_bands(
            found, catalog=catalogue if catalogue in catalogs.catalogs else None
        )
    return found


def _id_of(catalogue: str) -> str:
    known = catalogs.catalogs.get(catalogue)
    return str(known["vizier"]) if known else catalogue


def _name_positions(entries: Table) -> None:
    """``RAJ2000`` and ``DEJ2000``, whichever of their two names VizieR has used."""
    for name in ("RAJ2000", "DEJ2000"):
        if name not in entries.colnames:
            if f"_{name}" not in entries.colnames:
                raise BadAnswer(f"a table without {name}")
            entries.rename_column(f"_{name}", name)
