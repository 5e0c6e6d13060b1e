"""The trial stages, as SKYRELAY_EXTRA_STAGES finds them."""

from __future__ import annotations

from skyrelay.stages import Stage

TRIAL = Stage(
    step="trial",
    service="trial",
    state="trial",
    title="Trial",
    makes=("product.txt", "second.txt"),
    science_module="tests.trial_service.stage",
)

DIVIDED = Stage(
    step="divided",
    service="trial",
    state="divided",
    title="Divided trial",
    makes=("joined.txt",),
    science_module="tests.trial_service.divided",
)

STAGES = (TRIAL, DIVIDED)
