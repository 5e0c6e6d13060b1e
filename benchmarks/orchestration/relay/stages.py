"""Which stages are measured? Four that do nothing, each with a service of its own."""

from __future__ import annotations

from skyrelay.stages import Stage


def _no_op(name: str) -> Stage:
    return Stage(
        step=f"relay_{name}",
        service=f"relay-{name}",
        state=f"relay_{name}",
        title=f"The {name} leg",
        makes=(),
        science_module="benchmarks.orchestration.relay.stage",
        service_module=f"benchmarks.orchestration.relay.{name}",
    )


FIRST, SECOND, THIRD, FOURTH = STAGES = tuple(map(_no_op, ("first", "second", "third", "fourth")))

#: The chain that is measured.
STEPS = tuple(stage.step for stage in STAGES)
