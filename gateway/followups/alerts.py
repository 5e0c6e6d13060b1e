"""What does a candidate look like as an alert packet in the manner of ZTF?

One Avro container file per candidate, schema and all, with the names that ZTF's packets have
(Masci et al. 2019, PASP 131, 018003; github.com/ZwickyTransientFacility/ztf-avro-alert) where
they mean the same here, so that readers of those find their way.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fastavro
from sqlalchemy import ColumnElement, and_
from sqlalchemy.orm import Session

from gateway.measurements.lightcurve import Point, Question, TooMany, light_curve
from gateway.measurements.products import Row
from gateway.models import Task, TaskResults
from gateway.preview.planes import NoCutout, opened_planes
from skyrelay.store import TaskStore

_log = logging.getLogger(__name__)

#: Kind of content of the messages.
AVRO = "application/vnd.apache.avro"
SCHEMA_VERSION = "1.0"
#: Arcsec within which earlier measurements are taken for the same source, as ZTF has it.
SAME_PLACE = 1.5
#: Earlier measurements and limits in one alert.
MOST_PREVIOUS = 100
_JD_OF_MJD = 2400000.5
#: Extensions of a cut-out's file, and what they are called in an alert.
_STAMPS = {
    "cutoutScience": "IMAGE",
    "cutoutTemplate": "TEMPLATE",
    "cutoutDifference": "DIFF",
}


def _optional(name: str, kind: str, doc: str) -> dict[str, Any]:
    return {"name": name, "type": ["null", kind], "default": None, "doc": doc}


_CANDIDATE = {
    "type": "record",
    "name": "candidate",
    "namespace": "skyrelay.alert",
    "fields": [
        _optional("jd", "double", "Time of the observation (UTC, days)."),
        {"name": "filter", "type": "string", "doc": "Filter of the image."},
        {"name": "candid", "type": "long", "doc": "Number of this detection."},
        _optional("ra", "double", "Right ascension (ICRS, deg)."),
        _optional("dec", "double", "Declination (ICRS, deg)."),
        _optional("xpos", "double", "Position in the image, from 0 (pixels)."),
        _optional("ypos", "double", "Position in the image, from 0 (pixels)."),
        _optional("magpsf", "double", "Calibrated magnitude."),
        _optional("sigmapsf", "double", "Its one-sigma uncertainty."),
        _optional("diffmaglim", "double", "Limiting magnitude at that place."),
        _optional("magzpsci", "double", "Zero point of the image (mag)."),
        _optional("fwhm", "double", "FWHM of the image's stars (arcsec)."),
        _optional("scorr", "double", "Signal-to-noise ratio."),
        _optional("rb", "double", "Real (1) or bogus (0)."),
        {"name": "isdiffpos", "type": "string", "doc": "t: brighter than the template."},
        {"name": "flags", "type": "int", "doc": "Flags of the measurement."},
        {"name": "step", "type": "string", "doc": "Step that has found it."},
        {"name": "task", "type": "int", "doc": "Skyrelay's task."},
        {"name": "image", "type": "string", "doc": "Name of the task's image."},
        {"name": "ndethist", "type": "int", "doc": "Earlier images in which it was seen."},
        {"name": "ncovhist", "type": "int", "doc": "Earlier images that cover its position."},
        _optional("jdstarthist", "double", "Earliest of them in which it was seen (UTC, days)."),
        _optional("jdendhist", "double", "Latest of them in which it was seen (UTC, days)."),
    ],
}
_PREVIOUS = {
    "type": "record",
    "name": "prv_candidate",
    "namespace": "skyrelay.alert",
    "doc": "What an earlier image shows at the position; an upper limit has no magpsf.",
    "fields": [
        {"name": "jd", "type": "double", "doc": "Time of the observation (UTC, days)."},
        {"name": "filter", "type": "string", "doc": "Filter of the image."},
        {"name": "ra", "type": "double", "doc": "Right ascension (ICRS, deg)."},
        {"name": "dec", "type": "double", "doc": "Declination (ICRS, deg)."},
        _optional("magpsf", "double", "Calibrated magnitude."),
        _optional("sigmapsf", "double", "Its one-sigma uncertainty."),
        _optional("diffmaglim", "double", "Limiting magnitude."),
        {"name": "distance", "type": "double", "doc": "From the candidate (arcsec)."},
        {"name": "flags", "type": "int", "doc": "Flags of the measurement."},
        {"name": "source", "type": "string", "doc": "Product that it is from."},
        {"name": "task", "type": "int", "doc": "Skyrelay's task."},
        {"name": "image", "type": "string", "doc": "Name of the task's image."},
    ],
}
_CUTOUT = {
    "type": "record",
    "name": "cutout",
    "namespace": "skyrelay.alert",
    "fields": [
        {"name": "fileName", "type": "string"},
        {"name": "stampData", "type": "bytes", "doc": "A FITS file, packed by gzip."},
    ],
}
SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "alert",
        "namespace": "skyrelay",
        "doc": "A candidate, in the manner of ZTF's alerts.",
        "fields": [
            {"name": "schemavsn", "type": "string"},
            {"name": "publisher", "type": "string"},
            {"name": "alertId", "type": "string", "doc": "The message's id."},
            {"name": "objectId", "type": "string", "doc": "Name made of the position."},
            {"name": "candid", "type": "long"},
            {"name": "candidate", "type": _CANDIDATE},
            {
                "name": "prv_candidates",
                "type": {"type": "array", "items": _PREVIOUS},
                "default": [],
                "doc": "The last of them, by time.",
            },
            {"name": "cutoutScience", "type": ["null", _CUTOUT], "default": None},
            {"name": "cutoutTemplate", "type": ["null", "skyrelay.alert.cutout"], "default": None},
            {
                "name": "cutoutDifference",
                "type": ["null", "skyrelay.alert.cutout"],
                "default": None,
            },
        ],
    }
)


def alert(
    name: str,
    task: Task,
    found: TaskResults,
    row: Row,
    cutouts: Mapping[str, Any],
    history: Sequence[Point],
) -> bytes:
    """The alert of a candidate.

    Parameters
    ----------
    name : str
        Its message's id.
    cutouts : mapping
        Of `cutouts_of`.
    history : sequence of Point
        What earlier images show at its position, by time: of `history_of`.
    """
    number = _number_of(name)
    candidate = {
        "jd": None if found.time is None else found.time + _JD_OF_MJD,
        "filter": found.filter,
        "candid": number,
        "ra": row["ra"],
        "dec": row["dec"],
        "xpos": row["x"],
        "ypos": row["y"],
        "magpsf": row["mag"],
        "sigmapsf": row["mag_error"],
        "diffmaglim": row["mag_limit"],
        "magzpsci": found.zero_point,
        "fwhm": found.fwhm,
        "scorr": row["sn"],
        "rb": row["score"],
        "isdiffpos": "f" if row["flux"] is not None and row["flux"] < 0 else "t",
        "flags": row["flags"],
        "step": row["step"],
        "task": task.id,
        "image": task.original_name,
        **_counts(history),
    }
    packet = {
        "schemavsn": SCHEMA_VERSION,
        "publisher": "Skyrelay",
        "alertId": name,
        "objectId": row["name"],
        "candid": number,
        "candidate": candidate,
        "prv_candidates": [_previous(point) for point in history[-MOST_PREVIOUS:]],
        **cutouts,
    }
    content = io.BytesIO()
    fastavro.writer(content, SCHEMA, [packet], codec="deflate")
    return content.getvalue()


def history_of(
    session: Session, found: TaskResults, row: Row, allowed: ColumnElement[bool]
) -> list[Point]:
    """What earlier images show at a candidate's position, upper limits included, by time.

    ``allowed`` is the condition on tasks whose measurements may be told.
    """
    if row["ra"] is None or row["dec"] is None or found.time is None:
        return []
    question = Question(
        ra=row["ra"], dec=row["dec"], radius=SAME_PLACE, after=0.0, before=found.time
    )
    others = Task.id != found.task_id
    try:
        return light_curve(session, question, and_(allowed, others))
    except TooMany:
        # An alert without its history is better than none.
        return []


def _counts(history: Sequence[Point]) -> dict[str, Any]:
    seen = [point for point in history if point["detected"]]
    times = [point["time"] + _JD_OF_MJD for point in seen]
    return {
        "ndethist": len({point["task"] for point in seen}),
        "ncovhist": len({point["task"] for point in history}),
        "jdstarthist": min(times, default=None),
        "jdendhist": max(times, default=None),
    }


def _previous(point: Point) -> dict[str, Any]:
    seen = point["detected"]
    return {
        "jd": point["time"] + _JD_OF_MJD,
        "filter": point["filter"],
        "ra": point["ra"],
        "dec": point["dec"],
        "magpsf": point["mag"] if seen else None,
        "sigmapsf": point["mag_error"] if seen else None,
        "diffmaglim": point["mag_limit"],
        "distance": point["distance"],
        "flags": point["flags"],
        "source": point["source"],
        "task": point["task"],
        "image": point["original_name"],
    }


def _number_of(name: str) -> int:
    """A positive number of 63 bits that is always the same for the same message."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def cutouts_of(store: TaskStore, task_id: int, row: Row) -> dict[str, Any]:
    """The candidate's cut-outs as packed FITS files; those are left out that are not there."""
    path = row["cutout"]
    if not path:
        return {}
    try:
        return store.read_version(task_id, lambda folder: _stamps(folder / path), [path])
    except FileNotFoundError:
        return {}


def _stamps(path: Path) -> dict[str, Any]:
    from astropy.io import fits

    found: dict[str, Any] = {}
    try:
        with opened_planes(path) as planes:
            for name, extension in _STAMPS.items():
                plane = planes.hdus.get(extension.lower())
                if plane is None:
                    continue
                stamp = io.BytesIO()
                fits.PrimaryHDU(plane.data, plane.header).writeto(
                    stamp, output_verify="silentfix+ignore"
                )
                found[name] = {
                    "fileName": f"{path.stem}_{extension.lower()}.fits.gz",
                    "stampData": gzip.compress(stamp.getvalue(), mtime=0),
                }
    except NoCutout as error:
        # The user may have put anything there; a candidate without pictures is told all the same.
        _log.warning("cannot read %s: %s", path, error)
        return {}
    return found
