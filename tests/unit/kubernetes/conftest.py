"""Each overlay in turn."""

from __future__ import annotations

import pytest

from tests.support.manifests import Manifest, rendered


@pytest.fixture(params=["small", "small-autoscaling", "small-s3", "production", "production-s3"])
def manifests(request: pytest.FixtureRequest) -> tuple[Manifest, ...]:
    return rendered(request.param)
