"""Does exactly one of two requests to process a task win, at the same instant on two gateways?"""

from __future__ import annotations

import threading

import pytest

from gateway.models import RunState
from skyrelay.client import Client, RequestRefused
from tests.support.servers import Installation


@pytest.mark.parametrize("trials", [60, pytest.param(500, marks=pytest.mark.soak)])
def test_of_two_process_calls_at_the_same_instant_exactly_one_wins(
    place: Installation, trials: int
) -> None:
    addresses = [place.web()[1] for _ in range(2)]
    place.user("alice")
    clients = [place.client(address, "alice") for address in addresses]
    task = clients[0].create_task(original_name="a.fits").id
    barrier = threading.Barrier(len(clients))
    answers_of: list[list[int]] = [[] for _ in clients]

    def call(client: Client, answers: list[int]) -> None:
        for _ in range(trials):
            barrier.wait()
            try:
                client.process(task, ["trial"])
                answers.append(200)
            except RequestRefused as error:
                answers.append(error.status)
            barrier.wait()
            if client is clients[0]:
                client.cancel(task)

    calls = zip(clients, answers_of, strict=True)
    threads = [threading.Thread(target=call, args=each) for each in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pairs = [tuple(sorted(pair)) for pair in zip(*answers_of, strict=True)]
    assert pairs == [(200, 409)] * trials, place.logs()[-5000:]
    winners = [answers.count(200) for answers in answers_of]
    print(f"\nOf {trials} trials the gateways have won {winners}")
    runs = clients[0].runs(task)
    assert len(runs) == trials
    assert {run.state for run in runs} == {RunState.CANCELLED}
