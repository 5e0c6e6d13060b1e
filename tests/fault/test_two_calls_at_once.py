"""Does exactly one of two requests to process a task win, at the same instant on two gateways?"""

from __future__ import annotations

import threading

import pytest

from gateway.models import RunState
from skyrelay.client import Client, RequestRefused
from tests.support.fleet import fleet
from tests.support.gateway import opened
from tests.support.invariants import verdict
from tests.support.servers import Installation


@pytest.mark.parametrize("trials", [60, pytest.param(500, marks=pytest.mark.soak)])
def test_of_two_process_calls_at_the_same_instant_exactly_one_wins(
    place: Installation, amqp_uri: str, trials: int
) -> None:
    with (
        opened(place.folder, place.environment["DATABASE_URL"]) as gateway,
        fleet(place, replicas=1) as made,
    ):
        clients = made.clients
        task = clients[0].create_task(original_name="a.fits").id
        barrier = threading.Barrier(len(clients))
        answers_of: list[list[int]] = [[] for _ in clients]

        def begin(client: Client) -> int:
            try:
                # It is cancelled long before it could end.
                run = client.process(task, ["trial"], {"trial": {"seconds": 60}}).celery_id
            except RequestRefused as error:
                return error.status
            made.accepted[run] = task
            return 200

        def call(client: Client, answers: list[int]) -> None:
            try:
                for _ in range(trials):
                    barrier.wait()
                    answers.append(begin(client))
                    barrier.wait()
                    if client is clients[0]:
                        client.cancel(task)
            except BaseException:
                barrier.abort()  # Else the other one would wait for ever.
                raise

        calls = zip(clients, answers_of, strict=True)
        threads = [threading.Thread(target=call, args=each) for each in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        runs = clients[0].runs(task)
        made.cancelled |= made.accepted.keys()
        found = verdict(made, gateway, {}, amqp_uri, unharmed=True)
    pairs = [tuple(sorted(pair)) for pair in zip(*answers_of, strict=True)]
    assert pairs == [(200, 409)] * trials, made.logs()
    winners = [answers.count(200) for answers in answers_of]
    print(f"\nOf {trials} trials the gateways have won {winners}")
    assert {run.id for run in runs} == made.accepted.keys() and len(runs) == trials
    assert {run.state for run in runs} == {RunState.CANCELLED}
    assert not found, "\n".join([*found, made.logs()])
