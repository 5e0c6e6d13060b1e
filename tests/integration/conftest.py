"""What do the tests of the stage services share?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.station import Station, station


@pytest.fixture(name="station")
def a_station(tmp_path: Path, amqp_uri: str) -> Iterator[Station]:
    """A store, a broker for this test alone, and room for replicas of the trial service."""
    with station(tmp_path, amqp_uri) as made:
        yield made
