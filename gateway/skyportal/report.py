"""What is an object's analysis, as SkyPortal takes it from a service: results, and a plot?

The form is that of SkyPortal's documentation of analysis services: ``status`` (``success`` or
``failure``), ``message``, and ``analysis`` with ``results`` (JSON) and ``plots`` (base64).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from gateway.measurements.lightcurve import Point
from gateway.models import Run, RunState
from skyrelay import __version__
from skyrelay.sky.bandpasses import AB, bandpass_of

_DPI, _SIZE = 100, (8.0, 5.0)
_MARGINS = {"left": 0.09, "right": 0.98, "bottom": 0.11, "top": 0.93}


def report(
    about: dict[str, Any], points: Sequence[Point], run: Run | None, task_state: str | None
) -> dict[str, Any]:
    """The body of the call that answers an analysis.

    Parameters
    ----------
    about : dict
        ``object_id``; ``ra``, ``dec`` in degrees (ICRS); ``radius`` in arcsec.
    points : list of Point
        The light curve, by time.
    run : Run, optional
        The run that was begun for it, now over.
    task_state : str, optional
        How that run's task stands now; None if the task is gone.
    """
    ok = run is None or run.state in (RunState.DONE, RunState.DEGRADED)
    rows = [_row(point) for point in points]
    results: dict[str, Any] = {
        **about,
        "software": f"skyrelay {__version__}",
        "filters": _summary(points),
        "photometry": rows,
    }
    if run is not None:
        results["task"] = {
            "id": run.task_id,
            "state": task_state,
            "run": run.id,
            "outcome": run.state,
            "reasons": run.reasons,
        }
    analysis: dict[str, Any] = {"results": {"format": "json", "data": results}}
    if any(point["time"] is not None for point in points):
        analysis["plots"] = [{"format": "png", "data": _plot(about, points)}]
    return {
        "status": "success" if ok else "failure",
        "message": _message(about, points, run),
        "analysis": analysis,
    }


def refusal(message: str) -> dict[str, Any]:
    """The body of the call that says why there is no analysis."""
    return {"status": "failure", "message": message, "analysis": {}}


def _message(about: dict[str, Any], points: Sequence[Point], run: Run | None) -> str:
    seen = sum(point["detected"] for point in points)
    said = f'{seen} detections and {len(points) - seen} limits within {about["radius"]:g}"'
    if run is not None and run.state not in (RunState.DONE, RunState.DEGRADED):
        said += f"; the run of task {run.task_id} has {run.state}"
    if run is not None and run.reasons:
        said += ": " + " ".join(run.reasons)
    return said


def _row(point: Point) -> dict[str, Any]:
    """A point under the names of SkyPortal's photometry, to be posted there as it is."""
    band = bandpass_of(point["filter"])
    return {
        "mjd": point["time"],
        "filter": band.name if band else point["filter"],
        "magsys": band.system if band else AB,
        "mag": point["mag"] if point["detected"] else None,
        "magerr": point["mag_error"] if point["detected"] else None,
        "limiting_mag": point["mag_limit"],
        "ra": point["ra"],
        "dec": point["dec"],
        "origin": point["source"],
        "altdata": {"task": point["task"], "flags": point["flags"]},
    }


def _summary(points: Iterable[Point]) -> dict[str, dict[str, Any]]:
    """Of each filter: how often it was seen, when first and last, and how bright at most."""
    return {name: _of_filter(list(own)) for name, own in _by_filter(points)}


def _by_filter(points: Iterable[Point]) -> Iterable[tuple[str, Iterable[Point]]]:
    def filter_of(point: Point) -> str:
        return str(point["filter"])

    return groupby(sorted(points, key=filter_of), filter_of)


def _of_filter(points: Sequence[Point]) -> dict[str, Any]:
    seen = [point for point in points if point["detected"]]
    times = [point["time"] for point in seen if point["time"] is not None]
    limits = [point["mag_limit"] for point in points if point["mag_limit"] is not None]
    brightest = min(seen, key=lambda point: float(point["mag"]), default=None)
    return {
        "detections": len(seen),
        "limits": len(points) - len(seen),
        "first_mjd": min(times, default=None),
        "last_mjd": max(times, default=None),
        "brightest_mag": brightest and brightest["mag"],
        "brightest_mjd": brightest and brightest["time"],
        "deepest_limit": max(limits, default=None),
    }


def _plot(about: dict[str, Any], points: Sequence[Point]) -> str:
    """The light curve as a picture; triangles are upper limits."""
    from matplotlib.figure import Figure  # Takes most of a second, and few processes need it.

    figure = Figure(figsize=_SIZE, dpi=_DPI)
    figure.subplots_adjust(**_MARGINS)
    axes = figure.add_subplot(111)
    dated = [point for point in points if point["time"] is not None]
    for number, (name, own) in enumerate(_by_filter(dated)):
        color, group = f"C{number % 10}", list(own)
        seen = [point for point in group if point["detected"]]
        limits = [
            point for point in group if not point["detected"] and point["mag_limit"] is not None
        ]
        axes.errorbar(
            [point["time"] for point in seen],
            [point["mag"] for point in seen],
            [point["mag_error"] or 0.0 for point in seen],
            fmt="o",
            color=color,
            label=name or "no filter",
        )
        axes.plot(
            [point["time"] for point in limits],
            [point["mag_limit"] for point in limits],
            "v",
            color=color,
            alpha=0.4,
            label=None if seen else name or "no filter",
        )
    axes.set(
        title=f"{about['object_id']}  {about['ra']:.5f} {about['dec']:+.5f}".replace("$", r"\$"),
        xlabel="MJD (UTC)",
        ylabel="Magnitude",
    )
    axes.invert_yaxis()
    axes.grid(alpha=0.2)
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return base64.b64encode(content.getvalue()).decode()
