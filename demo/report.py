"""How are the results shown to a person?"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from demo.material import brightest_alone
from demo.results import Results
from demo.verdict import Check, deviation_of_zero_point, score
from skyrelay.stages import stage_of
from skyrelay.synthetic import Truth

Row = tuple[str, str, str]


def show(console: Console, results: Results, truth: Truth | None, checks: list[Check]) -> None:
    """Print the table of results, the seconds per stage, and what of it holds."""
    table = Table(title=f"Task {results.task}: {results.state}", title_justify="left")
    table.add_column("quantity")
    table.add_column("measured", justify="right")
    table.add_column("truth", justify="right")
    for section in (_measurements, _searches):
        for row in section(results, truth):
            table.add_row(*row)
        table.add_section()
    for row in _times(results):
        table.add_row(*row)
    console.print(table)
    for reason in results.reasons:
        console.print(f"[yellow]{reason}[/yellow]")
    for check in checks:
        mark = "[green]yes[/green]" if check.holds else "[bold red]NO[/bold red] "
        console.print(f"{mark} {check.what}", highlight=False)
    console.print(f"Products: {results.products}", highlight=False, soft_wrap=True)


def _measurements(results: Results, truth: Truth | None) -> Iterator[Row]:
    image = truth.science if truth else None
    yield (
        "FWHM",
        f"{_text(results, 'fwhm', 'px')}, {_text(results, 'fwhm_arcsec', 'arcsec')}",
        f"{image.fwhm:.2f} px" if image else "",
    )
    yield "zero point", _text(results, "zero_point", "mag", 3), ""
    deviation = deviation_of_zero_point(results, truth) if truth else None
    if deviation is not None:
        yield "  deviation from the truth", f"{deviation:+.4f} mag", "0"
    colour = results.number("photometry", "color_name")
    yield (
        f"colour term ({colour})" if colour else "colour term",
        _text(results, "color_term", "", 3),
        f"{image.colour_term:+.3f}" if image else "",
    )
    yield "astrometric residual (rms)", _text(results, "astrometric_residual", "arcsec", 3), ""
    limit = ""
    if image:
        radius = results.config["rel_aper"] * results.config["fwhm"] if results.config else None
        limit = f"{image.limiting_magnitude(radius):.2f} mag" if radius else ""
    yield "limiting magnitude", _text(results, "mag_limit", "mag"), limit
    if results.number("photometry", "target_0_mag") is not None:
        yield "target", _text(results, "target_0_mag", "mag", 3), _true_target(truth)
    yield "objects", _text(results, "n_objects", "", 0), ""


def _true_target(truth: Truth | None) -> str:
    """Magnitude in the instrument's own system, as that of the target is measured."""
    if truth is None:
        return ""
    target = brightest_alone(truth)
    return f"{target['mag'] - truth.science.colour_term * target['colour']:.3f} mag"


def _searches(results: Results, truth: Truth | None) -> Iterator[Row]:
    for step, candidates in results.candidates.items():
        title = stage_of(step).title
        yield f"{title}: candidates", str(len(candidates)), ""
        if truth is None:
            continue
        scored = score(candidates, truth)
        found, injected = scored.counts()
        yield "  transients found", str(found), f"{injected} injected"
        yield "  missed", str(injected - found), ""
        yield "  false", str(len(scored.false)), ""


def _times(results: Results) -> Iterator[Row]:
    for stage in results.stages:
        yield f"{stage_of(stage.step).title}: {stage.outcome}", f"{stage.seconds:.1f} s", ""


def _text(results: Results, name: str, unit: str, digits: int = 2) -> str:
    value = results.number("photometry", name)
    if value is None:
        return "-"
    error = results.error("photometry", name)
    uncertainty = "" if error is None else f" ± {error:.{max(digits, 4)}f}"
    return f"{value:.{digits}f}{uncertainty} {unit}".rstrip()
