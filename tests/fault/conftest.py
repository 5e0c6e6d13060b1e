"""What do the fault tests share: an installation whose stages are trials."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import Installation, installation

#: Retries after moments, so that a run which loses its worker is not waited for; a kill gives
#: those who do not listen half a second.
TRIAL = {
    "skyrelay_extra_stages": "tests.trial_service.stages",
    "skyrelay_retry_delays": "[0.3, 0.6, 1.0]",
    "skyrelay_kill_grace": "0.5",
}


@pytest.fixture
def place(tmp_path: Path, database_url: str, amqp_uri: str) -> Iterator[Installation]:
    """An installation whose stages include the trial stage; nothing of it runs yet."""
    with installation(tmp_path, database_url, amqp_uri, **TRIAL) as made:
        yield made
