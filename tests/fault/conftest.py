"""What do the fault tests share: an installation whose stages are trials."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import TRIAL, Installation, installation


@pytest.fixture
def place(tmp_path: Path, database_url: str, amqp_uri: str) -> Iterator[Installation]:
    """An installation whose stages include the trial stage; nothing of it runs yet."""
    with installation(tmp_path, database_url, amqp_uri, **TRIAL) as made:
        yield made
