"""Does the autoscaler of the simulation follow its manifest, and is that worth it?"""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.scale.night import Result, night, pass_night
from benchmarks.scale.paper import PaperReplicas
from benchmarks.scale.rules import Autoscaler, Rules
from skyrelay.stages import SERVICES

#: Seconds from the decision for a pod to its first image, where the image is on the node.
START = 30.0

RULES = Rules(
    least=1,
    most=10,
    each=2,
    poll=15,
    cooldown=300,
    patience=60,
    up=({"type": "Pods", "value": 4, "periodSeconds": 15},),
    down=({"type": "Percent", "value": 50, "periodSeconds": 60},),
)


def test_replicas_come_at_once_in_steps_and_never_more_than_are_wanted() -> None:
    decide = Autoscaler(RULES)
    assert decide(0, 7, 1) == 4  # A replica for each two messages.
    assert decide(15, 100, 4) == 8  # Four more than a quarter of a minute ago.
    assert decide(30, 100, 8) == 10


def test_replicas_go_when_fewer_were_wanted_for_long_enough_and_by_halves() -> None:
    decide = Autoscaler(RULES)
    assert decide(0, 16, 8) == 8
    assert decide(45, 2, 8) == 8
    assert decide(75, 2, 8) == 4
    assert decide(90, 2, 4) == 4  # Half of the eight of a minute ago.
    assert decide(150, 2, 4) == 2


def test_the_last_replica_goes_after_the_cool_down_only_and_comes_with_the_first_message() -> None:
    rules = dataclasses.replace(RULES, least=0)
    decide = Autoscaler(rules)
    assert decide(0, 1, 1) == 1
    assert decide(290, 0, 1) == 1
    assert decide(310, 0, 1) == 0
    assert decide(325, 0, 0) == 0
    assert decide(340, 20, 0) == 1
    assert decide(355, 20, 1) == 5


def test_a_service_at_work_is_never_told_to_have_no_replica() -> None:
    decide = Autoscaler(dataclasses.replace(RULES, least=0))
    assert all(decide(now, 1, 1) == 1 for now in range(0, 20_000, 15))


def _night(service: str, seconds: float, number: int | None = None) -> Result:
    rules = Rules.of(service)
    decide = Autoscaler(rules) if number is None else lambda *_: number
    return pass_night(night(400, 2.0, seconds), PaperReplicas(START), decide, rules.poll)


@pytest.mark.parametrize("service", SERVICES)
def test_by_need_a_night_costs_less_than_the_fixed_number_that_lets_nothing_wait_longer(
    service: str,
) -> None:
    by_need = _night(service, 60.0)
    assert len(by_need.waits) == 400
    quick = next(n for n in range(1, 100) if _night(service, 60.0, n).slowest <= by_need.slowest)
    fixed = _night(service, 60.0, quick)
    assert by_need.replica_seconds < fixed.replica_seconds / 2
    # Even if somebody had the fixed ones run at night only.
    assert by_need.until_done < fixed.until_done
