"""What do the fault tests share: an installation whose stages are trials."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.proxy import Proxy, proxy
from tests.support.servers import TRIAL, Installation, installation

#: How often the long form (``-m soak``) repeats what the short one does once.
REPETITIONS = int(os.environ.get("SOAK_REPETITIONS", "20"))


@pytest.fixture
def place(tmp_path: Path, database_url: str, amqp_uri: str) -> Iterator[Installation]:
    """An installation whose stages include the trial stage; nothing of it runs yet."""
    with installation(tmp_path, database_url, amqp_uri, **TRIAL) as made:
        yield made


@pytest.fixture(
    params=[0, *(pytest.param(n, marks=pytest.mark.soak) for n in range(1, REPETITIONS + 1))]
)
def repetition(request: pytest.FixtureRequest) -> int:
    """Has a test done once, and many times in the long form."""
    return int(request.param)


@pytest.fixture
def network(amqp_uri: str) -> Iterator[Proxy]:
    """What lies between the broker and those who are given its address."""
    with proxy(amqp_uri) as made:
        yield made
