"""Do the figures of the sky services tell what was asked, answered, and had already?"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest

from skyrelay import episodes
from skyrelay.errors import Permanent, Retriable
from skyrelay.messages import RunStage
from skyrelay.sky.remote import Remote
from skyrelay.stage import observation
from tests.sky.server import Fault, SkyServer
from tests.sky.test_remote import QUESTIONS
from tests.support.figures import Growth

COMMAND = RunStage(run=UUID(int=7), task=3, index=0, step="inspect", config="x")


@pytest.fixture
def since() -> Iterator[Growth]:
    """By how much a figure has grown since the test began; all is counted as in a replica."""
    episodes.listen(lambda episode: observation.noted(COMMAND, episode))
    yield Growth()
    episodes.listen(None)


def test_an_answer_is_counted_with_its_bytes_and_the_next_one_comes_from_the_cache(
    remote: Remote, since: Growth
) -> None:
    QUESTIONS["vizier"](remote)
    assert since("skyrelay_sky_asked_total", service="vizier", ending="ok") == 1
    assert since("skyrelay_sky_seconds_count", service="vizier") == 1
    assert since("skyrelay_sky_seconds_sum", service="vizier") > 0
    # At least a line of the table for each of its rows.
    assert since("skyrelay_sky_received_bytes_total", service="vizier") > 1000
    assert since("skyrelay_sky_cache_total", service="vizier", ending="miss") == 1
    assert since("skyrelay_sky_cache_total", service="vizier", ending="hit") == 0
    received = since("skyrelay_sky_received_bytes_total", service="vizier")

    QUESTIONS["vizier"](remote)
    assert since("skyrelay_sky_cache_total", service="vizier", ending="hit") == 1
    assert since("skyrelay_sky_asked_total", service="vizier", ending="ok") == 1
    assert since("skyrelay_sky_received_bytes_total", service="vizier") == received


def test_each_try_that_fails_and_a_request_that_is_refused_are_told_apart(
    remote: Remote, server: SkyServer, since: Growth
) -> None:
    server.fail("vizier", Fault.ERROR)
    with pytest.raises(Retriable):
        QUESTIONS["vizier"](remote)
    assert since("skyrelay_sky_asked_total", service="vizier", ending="failed") == 3
    assert since("skyrelay_sky_asked_total", service="vizier", ending="ok") == 0
    server.fail("sesame", Fault.REFUSED)
    with pytest.raises(Permanent):
        QUESTIONS["sesame"](remote)
    assert since("skyrelay_sky_asked_total", service="sesame", ending="refused") == 1
    assert since("skyrelay_sky_asked_total", service="sesame", ending="failed") == 0
