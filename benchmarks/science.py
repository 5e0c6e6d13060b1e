"""How right are positions, magnitudes and candidates, over fields of every kind?

``python -m benchmarks.science``: synthetic fields of varied seeing, crowding, depth, rotation,
colour and gain go through inspection, photometry, and every method that looks for transients. For
each quantity the median over the fields and the worst of them is shown. All depends on the seeds
only.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
from astropy.io import fits
from astropy.table import Table
from rich.console import Console
from rich.table import Table as Shown
from stdpipe.astrometry import planar_match

from benchmarks.real_fields import measure_real_fields
from skyrelay import products
from skyrelay.imaging.wcs import wcs_of
from skyrelay.messages import Outcome
from skyrelay.stage.execute import StageResult
from skyrelay.synthetic import (
    FieldSpec,
    Truth,
    render_observation,
    score_candidates,
    zero_point_deviation,
)
from skyrelay.synthetic.evaluation import astrometric_residuals
from tests.support.stages import run_stage

#: What looks for transients: the step, its table of candidates, and what chooses it.
METHODS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sfft": ("subtraction", products.CANDIDATES, {"subtraction_method": "sfft"}),
    "zogy": ("subtraction", products.CANDIDATES, {"subtraction_method": "zogy"}),
    "catalogue": ("simple_transients", products.CANDIDATES_SIMPLE, {}),
}

#: Bounds of the S/N classes of transients; what is fainter need not be found.
SN_BOUNDS = (5.0, 10.0, 20.0, np.inf)

#: Errors of stars (mag) above which their photons hide every other fault.
BRIGHT = 0.1

#: What is worst of several values, by how the quantity's name ends.
WORST: dict[str, Callable[[np.ndarray], float]] = {
    "complete": lambda values: float(values.min()),
    "pure": lambda values: float(values.min()),
    "pull": lambda values: float(values[np.argmax(np.abs(np.log(values)))]),
    "": lambda values: float(values[np.argmax(np.abs(values))]),
}


@click.command()
@click.option("--fields", default=3, show_default=True, help="Number of fields; 20 tell more.")
@click.option("--first", default=1, show_default=True, help="Seed of the first field.")
@click.option("--size", default=1024, show_default=True, help="Pixels of one side of a field.")
@click.option("--method", "methods", multiple=True, type=click.Choice(list(METHODS)))
@click.option("--json", "as_json", is_flag=True, help="Print the values of every field as JSON.")
def benchmark(fields: int, first: int, size: int, methods: tuple[str, ...], as_json: bool) -> None:
    """Measure the accuracy of photometry, astrometry and searches over synthetic fields."""
    measured = []
    for seed in range(first, first + fields):
        spec = varied(seed, size)
        with tempfile.TemporaryDirectory(prefix="skyrelay-bench-") as scratch:
            measured.append(dict(measure(Path(scratch), spec, methods or tuple(METHODS))))
        click.echo(f"Field {seed} is measured", err=True)
    with tempfile.TemporaryDirectory(prefix="skyrelay-bench-") as scratch:
        real = dict(measure_real_fields(_real_data(), Path(scratch), methods or tuple(METHODS)))
    if as_json:
        click.echo(json.dumps({"synthetic": measured, "real": real}, indent=1))
    else:
        show(measured)
        show_real(real)


def _real_data() -> Path:
    beside = Path(__file__).parents[2] / "shared" / "data"
    return Path(os.environ.get("SKYRELAY_TEST_DATA", beside))


def varied(seed: int, size: int) -> FieldSpec:
    """A field of its own kind for every seed."""
    rng = np.random.default_rng(seed)
    return FieldSpec(
        seed=seed,
        size=size,
        fwhm=rng.uniform(3.0, 4.5),
        template_fwhm=rng.uniform(2.3, 3.0),
        crowding=float(10 ** rng.uniform(-0.3, 0.5)),
        template_depth=rng.uniform(3, 15),
        rotation=rng.uniform(0, 360),
        template_rotation=rng.uniform(-6, 6),
        colour_term=rng.uniform(-0.1, 0.1),
        gain=rng.uniform(0.8, 3.0),
        transients_alone=36,
        transients_on_galaxies=24,
        transient_sn=(4.0, 60.0),
    )


def measure(
    scratch: Path, spec: FieldSpec, methods: tuple[str, ...]
) -> Iterator[tuple[str, float]]:
    """Every quantity of one field, by name."""
    folder = scratch / "field"
    observation = render_observation(spec)
    paths = observation.write(folder)
    paths["template"].rename(folder / products.CUSTOM_TEMPLATE)
    config: dict[str, Any] = {"cat_name": "local", "cat_file": paths["catalogue"].name}
    config["template"] = "custom"
    inspection = _run("inspect", folder, config)
    photometry = _run("photometry", folder, inspection.config)
    yield from _of_photometry(folder, observation.truth, photometry)
    for method in methods:
        step, table, choice = METHODS[method]
        there = Path(shutil.copytree(folder, scratch / method))
        _run(step, there, {**photometry.config, **choice})
        candidates, templated = Table.read(there / table), step == "subtraction"
        for name, value in _of_search(observation.truth, candidates, templated=templated):
            yield f"{method}: {name}", value


def _run(step: str, folder: Path, config: dict[str, Any]) -> StageResult:
    result = run_stage(step, folder, config)
    if result.outcome is Outcome.FAILED:
        raise click.ClickException(f"{step} failed: {' '.join(result.reasons)}")
    return result


def _of_photometry(folder: Path, truth: Truth, result: StageResult) -> Iterator[tuple[str, float]]:
    values = {name: measured.value for name, measured in result.values.items()}
    radius = float(values["aperture_radius"])  # type: ignore[arg-type]
    zero_point = float(values["zero_point"])  # type: ignore[arg-type]
    deviation = zero_point_deviation(truth.science, zero_point, radius)
    yield "zero-point error, mmag", 1000 * abs(deviation)
    wcs = wcs_of(fits.getheader(folder / products.IMAGE_WCS))
    yield "astrometric error, mas", 1000 * float(np.median(astrometric_residuals(truth, wcs)))
    objects = Table.read(folder / products.OBJECTS)
    seen, true, _ = planar_match(objects["x"], objects["y"], truth.stars["x"], truth.stars["y"], 1)
    clean = (np.asarray(objects["flags"])[seen] == 0) & ~np.asarray(truth.stars["saturated"])[true]
    clean &= np.asarray(objects["magerr"])[seen] < BRIGHT
    objects, stars = objects[seen[clean]], truth.stars[true[clean]]
    magnitude = -2.5 * np.log10(np.asarray(stars["flux"])) + truth.science.zero_point
    yield from _of_magnitudes("stars", objects, magnitude)


def _of_search(truth: Truth, candidates: Table, *, templated: bool) -> Iterator[tuple[str, float]]:
    score = score_candidates(truth, candidates)
    for host, where in ((None, "all"), ("none", "alone"), ("galaxy", "on galaxies")):
        for low, high in ((SN_BOUNDS[0], np.inf), *pairwise(SN_BOUNDS)):
            found, injected = score.counts(host, (low, high))
            share = found / injected if injected else float("nan")
            yield f"{where}, S/N {low:g} to {high:g}, complete", share
    count = len(score.found) + len(score.false)
    yield "pure", len(score.found) / count if count else float("nan")
    # Without a template the light of the host cannot be told from the transient's.
    found = score.found if templated else score.found[np.asarray(score.found["host"]) == "none"]
    seen = candidates[np.asarray(found["candidate"])]
    # In the image's own passband, as all calibrated magnitudes are.
    magnitude = truth.science.zero_point - 2.5 * np.log10(np.asarray(found["flux"]))
    yield from _of_magnitudes("transients", seen, magnitude)


def _of_magnitudes(what: str, seen: Table, truth: np.ndarray) -> Iterator[tuple[str, float]]:
    """Bias, scatter and pull: the scatter in units of the claimed errors."""
    magnitude: np.ndarray = np.ma.filled(np.ma.asarray(seen["mag_calib"], float), np.nan)
    error: np.ndarray = np.ma.filled(np.ma.asarray(seen["mag_calib_err"], float), np.nan)
    deviation = magnitude - truth
    usual = np.nanmedian(deviation)
    yield f"{what}, bias, mmag", 1000 * float(usual)
    yield f"{what}, scatter, mmag", 1000 * _robust(deviation - usual)
    yield f"{what}, pull", _robust((deviation - usual) / error)


def _robust(values: np.ndarray) -> float:
    return float(1.4826 * np.nanmedian(np.abs(values)))


def show(measured: list[dict[str, float]]) -> None:
    """Print median and worst of every quantity."""
    table = Shown("quantity", "median", "worst", title=f"{len(measured)} synthetic fields")
    for name in measured[0]:
        values = np.array([each[name] for each in measured])
        values = values[np.isfinite(values)]
        if values.size:
            worst = next(WORST[end] for end in WORST if name.endswith(end))
            table.add_row(name, f"{np.median(values):.3g}", f"{worst(values):.3g}")
    Console(highlight=False).print(table)


def show_real(values: dict[str, float]) -> None:
    """Print every quantity of the real images."""
    table = Shown("quantity", "value", title="Real images")
    for name, value in values.items():
        table.add_row(name, f"{value:.3g}")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    benchmark()
