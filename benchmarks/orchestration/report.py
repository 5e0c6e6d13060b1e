"""How are the figures shown to people, and to scripts?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.orchestration.celery_chain import WORKERS
from benchmarks.orchestration.figures import STDWEB, Figures
from benchmarks.orchestration.relay.stages import STAGES


def as_json(skyrelay: Figures, celery: Figures | None) -> dict[str, Any]:
    """Everything, with the ratios that the targets are about."""
    return {
        "skyrelay": asdict(skyrelay),
        "celery": asdict(celery) if celery else None,
        "ratios": _ratios(skyrelay, celery) if celery else None,
        "published_stdweb_on_another_machine": STDWEB,
    }


def show(console: Console, skyrelay: Figures, celery: Figures | None) -> None:
    """Two tables: the comparison, and what is Skyrelay's own."""
    table = Table(title=f"A chain of {len(STAGES)} stages that do nothing")
    for heading in ("", "Skyrelay", "Celery", "Skyrelay / Celery"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, figure, form in _COMPARED:
        theirs = figure(celery) if celery else None
        ratio = f"{figure(skyrelay) / theirs:.2f}" if theirs else ""
        table.add_row(name, _text(form, figure(skyrelay)), _text(form, theirs), ratio)
    console.print(table)
    console.print(
        f"Skyrelay: one replica with one slot of each stage. Celery: {WORKERS} worker processes, "
        "acks_late, classic queues, no confirms, no HTTP, SQLite in WAL mode.\n"
    )
    _show_details(console, skyrelay, celery)
    _show_published(console, skyrelay)


def _show_details(console: Console, skyrelay: Figures, celery: Figures | None) -> None:
    console.print("CPU ms per chain, by process (alone / at once)")
    for name, figures in (("Skyrelay", skyrelay), ("Celery", celery)):
        if figures:
            parts = [
                f"{process} {1000 * figures.cpu_alone[process]:.1f} / {1000 * seconds:.1f}"
                for process, seconds in figures.cpu_at_once.items()
            ]
            console.print(f"  {name}: {', '.join(parts)}")
    stages = len(STAGES)
    if skyrelay.statements is not None and skyrelay.commits is not None:
        console.print(
            f"Skyrelay's database: {skyrelay.statements:.1f} statements and "
            f"{skyrelay.commits:.1f} commits per chain, {skyrelay.statements / stages:.1f} and "
            f"{skyrelay.commits / stages:.1f} per stage"
        )
    passed = ", ".join(f"{name} {n:.1f}" for name, n in skyrelay.messages_by_exchange.items())
    console.print(f"Skyrelay's messages per chain: {passed}")
    grown = ", ".join(
        f"{name} {mib:+.1f} MiB"
        for name, mib in skyrelay.grown.items()
        if name in ("web", "events")
    )
    console.print(f"The gateway after {skyrelay.chains_at_once} chains: {grown}\n")


def _show_published(console: Console, skyrelay: Figures) -> None:
    table = Table(title="Beside figures of STDWeb that were measured on ANOTHER machine")
    for heading in ("", "Skyrelay here", "STDWeb there", "Skyrelay / STDWeb"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, own, key, form in (
        ("latency, ms", skyrelay.seen.median, "latency", "{:.0f}"),
        ("chains/s", skyrelay.chains_per_second, "chains_per_second", "{:.1f}"),
        ("CPU s per chain", _cpu(skyrelay), "cpu", "{:.3f}"),
    ):
        low, high = STDWEB[key]
        both = [form.format(low)] + ([form.format(high)] if high != low else [])
        ratios = sorted({f"{own / low:.2f}", f"{own / high:.2f}"})
        table.add_row(name, form.format(own), " to ".join(both), " to ".join(ratios))
    console.print(table)


def _cpu(figures: Figures) -> float:
    return sum(figures.cpu_at_once.values())


_COMPARED: tuple[tuple[str, Callable[[Figures], float], str], ...] = (
    ("latency seen by a client, median, ms", lambda f: f.seen.median, "{:.1f}"),
    ("latency seen by a client, 95th percentile, ms", lambda f: f.seen.p95, "{:.1f}"),
    ("the same chains by the database's clock, median, ms", lambda f: f.recorded.median, "{:.1f}"),
    ("latency, nobody watching, median, ms", lambda f: f.undisturbed.median, "{:.1f}"),
    ("latency, nobody watching, 95th percentile, ms", lambda f: f.undisturbed.p95, "{:.1f}"),
    ("chains/s, all at once", lambda f: f.chains_per_second, "{:.1f}"),
    ("CPU ms per chain, all at once", lambda f: 1000 * _cpu(f), "{:.1f}"),
    ("CPU ms per chain, alone", lambda f: 1000 * sum(f.cpu_alone.values()), "{:.1f}"),
    ("processors kept busy by others meanwhile", lambda f: f.others, "{:.2f}"),
    ("messages per chain", lambda f: f.messages, "{:.1f}"),
)


def _ratios(skyrelay: Figures, celery: Figures) -> dict[str, float]:
    return {name: figure(skyrelay) / figure(celery) for name, figure, _ in _COMPARED}


def _text(form: str, value: float | None) -> str:
    return "" if value is None else form.format(value)
