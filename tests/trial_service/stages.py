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

STAGES = (TRIAL,)
