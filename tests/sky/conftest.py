"""What do the tests of the sky services share: a small sky, and its server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skyrelay.settings import Settings
from skyrelay.sky.remote import Remote
from skyrelay.synthetic import FieldSpec
from tests.sky.heavens import Body, Heavens
from tests.sky.server import SkyServer

#: JD at which the body is where it is said to be.
EPOCH = 2460445.0

SPEC = FieldSpec(seed=11, size=256)


@pytest.fixture(scope="session")
def sky() -> Iterator[SkyServer]:
    """A server of a small field with one asteroid, one galaxy with a name and one transient."""
    asteroid = Body("Tycho", SPEC.ra + 0.01, SPEC.dec, EPOCH, rate_ra=30.0, rate_dec=-6.0)
    heavens = Heavens(
        SPEC,
        bodies=(asteroid,),
        names={"m31": (10.68470833, 41.26875)},
        transients={"at2023lxx": (123.456, -45.678)},
    )
    with SkyServer(heavens) as server:
        yield server


@pytest.fixture
def server(sky: SkyServer) -> SkyServer:
    """The same, with everything in order."""
    sky.mend()
    return sky


@pytest.fixture
def log() -> list[str]:
    """The lines of the log."""
    return []


@pytest.fixture
def ask(server: SkyServer, tmp_path: Path, log: list[str]) -> Callable[..., Remote]:
    """A function that makes a way to the services with changed settings."""

    def make(offline: bool = False, **changes: Any) -> Remote:
        settings: Settings = server.settings(tmp_path, **changes)
        temporary = tmp_path / "scratch"
        temporary.mkdir(exist_ok=True)
        return Remote(settings, offline, temporary, lambda *words: log.append(" ".join(words)))

    return make


@pytest.fixture
def remote(ask: Callable[..., Remote]) -> Remote:
    """The way to the services."""
    return ask()
