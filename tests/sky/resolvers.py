"""Sesame, in its two forms, and Fink's resolver of the names of transients."""

from __future__ import annotations

import json

from tests.sky.heavens import Heavens
from tests.sky.messages import Answer, Question


def sesame(heavens: Heavens, question: Question) -> Answer:
    """The position of a name: as text, as astropy asks, or as XML (``-ox``), as stdpipe does."""
    name = question.text
    position = heavens.names.get(name.replace(" ", "").lower())
    if question.path.startswith("-o"):
        return Answer(_as_xml(name, position).encode(), "text/xml")
    lines = [f"# {name}\t#Q4242"]
    if position is None:
        lines += ["#!SNV=Simbad,NED,VizieR: Nothing found", "#====Done (2026-Jan-01,00:00:00z)===="]
    else:
        ra, dec = position
        lines += [
            "#=S=Simbad (CDS, via client/server):    1     0ms",
            "%C.0 G",
            f"%J {ra:.8f} {dec:+.8f} = (sexagesimal)",
            f"%I.0 {name}",
            "#====Done (2026-Jan-01,00:00:00z)====",
        ]
    return Answer(("\n".join(lines) + "\n").encode(), "text/plain")


def _as_xml(name: str, position: tuple[float, float] | None) -> str:
    found = ""
    if position is not None:
        ra, dec = position
        found = (
            f'<Resolver name="S=Simbad"><jradeg>{ra}</jradeg><jdedeg>{dec}</jdedeg>'
            f"<oname>{name}</oname></Resolver>"
        )
    return f'<?xml version="1.0"?><Sesame><Target><name>{name}</name>{found}</Target></Sesame>'


def fink(heavens: Heavens, question: Question) -> Answer:
    """Rows of the Transient Name Server with this name, or, reversed, with this internal name."""
    asked = question.document
    position = heavens.transients.get(asked["name"].replace(" ", "").lower())
    rows = []
    if asked["resolver"] == "tns" and position is not None and not asked.get("reverse"):
        ra, dec = position
        rows = [{"d:fullname": asked["name"], "d:ra": ra, "d:declination": dec}]
    return Answer(json.dumps(rows).encode(), "application/json")
