"""VizieR and CDS XMatch, as astroquery asks them.

VizieR takes a script of ``key=value`` lines (ASU) and answers a VOTable with one table per
catalogue, or none where it has no entry. XMatch takes a form with a table and answers a VOTable
with the rows that match; it lists its tables as a text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.io import ascii as text_tables
from astropy.io.votable import from_table
from astropy.io.votable.tree import Info, VOTableFile
from astropy.table import Table, hstack

from skyrelay.imaging.votable import write_document
from tests.sky.heavens import Heavens
from tests.sky.messages import Answer, Question

_VOTABLE = "text/xml; charset=utf-8"
_CENTRE = re.compile(r"([\d.]+)([-+][\d.]+)")
_CONDITION = re.compile(r"([<>])(=?)(.+)")


def _positions(sky: Table) -> Table:
    table = sky["ra", "dec", "e_ra", "e_dec"].copy()
    table.rename_columns(table.colnames, ["RAJ2000", "DEJ2000", "e_RAJ2000", "e_DEJ2000"])
    return table


def _ps1(sky: Table) -> Table:
    table = _positions(sky)
    for band in "griz":
        table[f"{band}mag"], table[f"e_{band}mag"] = sky[f"{band}mag"], sky[f"e_{band}mag"]
    table["ymag"], table["e_ymag"] = sky["zmag"] - 0.1, sky["e_zmag"]
    return table


def _gaia(sky: Table) -> Table:
    sky = sky[np.asarray(sky["rmag"]) < 20.5]
    table = _positions(sky)
    for name, band in (("G", "r"), ("BP", "g"), ("RP", "i")):
        table[f"{name}mag"], table[f"e_{name}mag"] = sky[f"{band}mag"], sky[f"e_{band}mag"]
    return table


def _skymapper(sky: Table) -> Table:
    table = _positions(sky)
    table.rename_columns(["RAJ2000", "DEJ2000"], ["_RAJ2000", "_DEJ2000"])
    for band in "uvgriz":
        source = band if band in "griz" else "g"
        table[f"{band}PSF"] = sky[f"{source}mag"]
        table[f"e_{band}PSF"] = sky[f"e_{source}mag"]
    return table


def _sdss(sky: Table) -> Table:
    table = _ps1(sky)
    table.remove_columns(["ymag", "e_ymag"])
    table["umag"], table["e_umag"] = sky["gmag"] + 1.2, sky["e_gmag"]
    return table


def _2mass(sky: Table) -> Table:
    table = _positions(sky)
    for name, offset in (("J", 1.0), ("H", 1.4), ("K", 1.5)):
        table[f"{name}mag"], table[f"e_{name}mag"] = sky["zmag"] - offset, sky["e_zmag"]
    return table


def _synthetic(sky: Table) -> Table:
    table = _positions(sky)
    table.rename_columns(["RAJ2000", "DEJ2000"], ["_RAJ2000", "_DEJ2000"])
    for band in "UBVRIugrizy":
        source = {"U": "g", "B": "g", "V": "g", "R": "r", "I": "i", "u": "g", "y": "z"}.get(
            band, band
        )
        magnitude = np.asarray(sky[f"{source}mag"])
        table[f"{band}mag"] = magnitude
        table[f"F{band}"] = 10 ** (-0.4 * magnitude)
        table[f"e_F{band}"] = 0.9 * np.asarray(sky[f"e_{source}mag"]) * table[f"F{band}"]
    return table


#: What VizieR has, by its own names.
CATALOGUES: dict[str, Callable[[Table], Table]] = {
    "II/349/ps1": _ps1,
    "I/350/gaiaedr3": _gaia,
    "II/379/smssdr4": _skymapper,
    "V/154/sdss16": _sdss,
    "J/ApJ/867/105/refcat2": _ps1,
    "II/246/out": _2mass,
    "I/360/syntphot": _synthetic,
    "II/371/des_dr2": _ps1,
}


def vizier(heavens: Heavens, question: Question) -> Answer:
    """The entries of a catalogue in a cone that meet all conditions."""
    script = dict(line.partition("=")[::2] for line in question.body.decode().splitlines())
    name = script["-source"]
    if name not in CATALOGUES:
        return _document(None, name, Info(name="Error", value=f"Catalogue {name} not found"))
    table = CATALOGUES[name](heavens.catalogue)
    for column in set(table.colnames) & script.keys():
        sign, _, limit = _CONDITION.fullmatch(script[column]).groups()  # type: ignore[union-attr]
        values = np.asarray(table[column])
        table = table[values < float(limit) if sign == "<" else values > float(limit)]
    ra, dec = (float(text) for text in _CENTRE.fullmatch(script["-c"]).groups())  # type: ignore[union-attr]
    away = SkyCoord(ra, dec, unit="deg").separation(_coordinates(table)).deg
    return _document(table[away < float(script["-c.rd"])], name)


def xmatch(heavens: Heavens, question: Question) -> Answer:
    """Pairs of uploaded positions and entries of a catalogue."""
    if question.path == "tables":
        return Answer("\n".join(CATALOGUES).encode(), "text/plain")
    form = question.form
    name = form["cat2"].removeprefix("vizier:")
    if form["request"] != "xmatch" or name not in CATALOGUES:
        info = Info(id="QUERY_STATUS", name="QUERY_STATUS", value="ERROR")
        info.content = f"{name} is no table of XMatch"
        answer = _document(None, name, info)
        return Answer(answer.body, answer.kind, 400)
    given = text_tables.read(question.files["cat1"].decode(), format="csv", fast_reader=False)
    table = CATALOGUES[name](heavens.catalogue)
    mine = SkyCoord(given[form["colRA1"]], given[form["colDec1"]], unit="deg")
    radius = float(form["distMaxArcsec"]) * u.arcsec
    left, right, away, _ = search_around_sky(mine, _coordinates(table), radius)
    found = hstack([given[left], table[right]], metadata_conflicts="silent")
    found.add_column(away.arcsec, name="angDist", index=0)
    return _document(found, "xmatch", Info(name="QUERY_STATUS", value="OK"))


def _coordinates(table: Table) -> SkyCoord:
    prefix = "" if "RAJ2000" in table.colnames else "_"
    ra, dec = (np.asarray(table[f"{prefix}{name}"]) for name in ("RAJ2000", "DEJ2000"))
    return SkyCoord(ra, dec, unit="deg")


def _document(table: Table | None, name: str, *infos: Info) -> Answer:
    """A VOTable; without a table if there are no rows, as VizieR does it."""
    document = VOTableFile()
    if table is not None and (len(table) or name == "xmatch"):
        plain = table.copy()
        plain.meta.clear()
        document = from_table(plain)
        document.resources[0].name = name.rpartition("/")[0]
        document.get_first_table().name = name
    document.infos.extend(infos)
    content = io.BytesIO()
    write_document(document, content)
    return Answer(content.getvalue(), _VOTABLE)
