"""Does every message have a way, and every queue what keeps its messages safe?"""

from __future__ import annotations

from uuid import uuid4

import pytest
from kombu import Queue

from skyrelay.broker import topology
from skyrelay.messages import KillRun, Lane, RunStage, StageProgressed
from skyrelay.parameters import parameter
from skyrelay.stages import SERVICES, STAGES, Stage, stages_of_service

COMMAND = RunStage(run=uuid4(), task=1, index=0, step="inspect", config="a.json")
QUEUES = {queue.name: queue for queue in topology.queues((5.0, 30.0, 120.0))}


def arguments(queue: Queue) -> dict[str, object]:
    return dict(queue.queue_arguments)


def test_every_service_has_a_queue_for_its_stages_and_one_for_large_images() -> None:
    for service in SERVICES:
        steps = {stage.step for stage in stages_of_service(service)}
        for name, lane in ((f"work.{service}", ""), (f"work.{service}.large", ".large")):
            work = arguments(QUEUES[name])
            assert work["x-queue-type"] == "quorum"
            assert work["x-delivery-limit"] == topology.DELIVERY_LIMIT
            assert work["x-dead-letter-exchange"] == topology.DEAD.name
            keys = {binding.routing_key for binding in QUEUES[name].bindings}
            assert keys == {f"{step}{lane}" for step in steps}


def test_a_large_image_stays_in_its_lane_when_it_is_tried_again() -> None:
    large = COMMAND.model_copy(update={"lane": Lane.LARGE})
    assert topology.route_of(large).routing_key == "inspect.large"
    assert topology.retry_route(large, 5.0).routing_key == "inspect.large"


def test_whatever_is_put_aside_reaches_the_dead_letter_queue() -> None:
    dead = QUEUES["gateway.dead"]
    assert (dead.exchange.name, dead.exchange.type) == (topology.DEAD.name, "fanout")
    assert arguments(dead)["x-queue-type"] == "quorum"
    assert "x-message-ttl" not in arguments(dead)


def test_no_message_is_taken_from_a_stage_that_takes_long() -> None:
    for stage in STAGES:
        time_out = arguments(QUEUES[f"work.{stage.service}"])["x-consumer-timeout"]
        assert isinstance(time_out, int)
        assert time_out > 2000 * stage.time_limit


def test_no_user_may_give_a_stage_more_time_than_its_message_has() -> None:
    most = parameter("time_limit").maximum
    assert most is not None
    for service in SERVICES:
        for lane in Lane:
            held = arguments(topology.work_queue(service, lane))["x-consumer-timeout"]
            assert isinstance(held, int)
            assert 1000 * most < held


def test_a_stage_that_would_lose_its_message_is_refused() -> None:
    with pytest.raises(ValueError, match="the stage slow has a time limit of 90000 s: it must be"):
        Stage(step="slow", service="slow", state="slow", title="Slow", time_limit=90_000.0)


def test_a_message_that_waits_goes_back_to_where_it_belongs() -> None:
    for delay in (5.0, 30.0, 120.0):
        queue = QUEUES[f"retry.{delay:g}"]
        waiting = arguments(queue)
        assert waiting["x-message-ttl"] == 1000 * delay
        assert waiting["x-dead-letter-exchange"] == topology.WORK.name
        assert "x-dead-letter-routing-key" not in waiting
        route = topology.retry_route(COMMAND, delay)
        assert (route.exchange, route.routing_key) == (queue.exchange.name, "inspect")


def test_a_command_must_find_its_queue_and_a_kill_need_not() -> None:
    assert topology.route_of(COMMAND).mandatory
    assert topology.route_of(COMMAND).persistent
    assert not topology.route_of(KillRun(run=COMMAND.run, task=1)).mandatory


def test_progress_may_be_lost() -> None:
    progress = StageProgressed(
        run=COMMAND.run,
        task=1,
        index=0,
        step="inspect",
        attempt=1,
        worker="w",
        fraction=0,
        doing="",
    )
    route = topology.route_of(progress)
    assert (route.mandatory, route.persistent) == (False, False)
    assert "x-max-length" in arguments(QUEUES["gateway.progress"])


def test_the_reason_of_a_dead_message_is_a_sentence() -> None:
    assert topology.reason_of({topology.REASON_HEADER: "It is broken."}) == "It is broken."
    killed = topology.reason_of({"x-death": [{"reason": "delivery_limit"}]})
    assert killed == f"The worker died {topology.DELIVERY_LIMIT + 1} times while working on it."
    assert topology.reason_of(None) == "The message was rejected."
