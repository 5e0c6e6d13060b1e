"""What do the integration tests share: a whole Skyrelay, and something to observe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skyrelay.client import Client
from skyrelay.stack.stack import Stack
from skyrelay.synthetic import FieldSpec, Observation, render_observation
from tests.support.collector import Collector, collector


@pytest.fixture(scope="session")
def traces() -> Iterator[Collector]:
    """Where the whole stack sends its traces."""
    with collector() as made:
        yield made


@pytest.fixture(scope="session")
def whole_stack(traces: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All of Skyrelay, up and warm, with two replicas of the photometry; for several tests."""
    settings = {
        "SKYRELAY_TRACES": traces.address,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "SKYRELAY_LOG_FORMAT": "json",
    }
    folder = tmp_path_factory.mktemp("skyrelay")
    with Stack(folder, replicas={"photometry": 2}, environment=settings) as stack:
        yield stack


@pytest.fixture(scope="session")
def client(whole_stack: Stack) -> Iterator[Client]:
    """Its administrator, at the API."""
    with Client(whole_stack.base_url, whole_stack.admin_token) as client:
        yield client


@pytest.fixture(scope="session")
def observation() -> Observation:
    """A small observation of the synthetic sky."""
    return render_observation(FieldSpec(seed=5, size=512))


@pytest.fixture(scope="session")
def observed(observation: Observation, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Its files, by name: image, template, catalogue, truth."""
    return observation.write(tmp_path_factory.mktemp("observation"))
