"""Which processes make up a stack, and how does one ask for more of them?"""

from __future__ import annotations

import pytest

from skyrelay import stages
from skyrelay.stack.roles import SERVICES, events, parse_replicas, replica
from skyrelay.stages import Stage


def test_every_service_has_one_replica_unless_said_otherwise() -> None:
    assert parse_replicas("") == {
        "inspect": 1,
        "stacking": 1,
        "photometry": 1,
        "transients": 1,
        "subtraction": 1,
    }
    assert tuple(parse_replicas("")) == SERVICES


@pytest.mark.parametrize("text", ["inspect=2 photometry=0", "inspect=2,photometry=0"])
def test_the_number_of_replicas_is_set_by_service(text: str) -> None:
    replicas = parse_replicas(text)
    assert (replicas["inspect"], replicas["photometry"], replicas["subtraction"]) == (2, 0, 1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("inspct=2", r"^There is no service 'inspct'; there are inspect, .*\.$"),
        ("inspect=two", r"^'inspect=two' is not of the form inspect=2\.$"),
        ("inspect=-1", r"^'inspect=-1' is not of the form inspect=2\.$"),
        ("inspect", r"^'inspect' is not of the form inspect=2\.$"),
    ],
)
def test_a_slip_in_the_replicas_is_said_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_replicas(text)


def test_what_takes_messages_is_waited_for_until_it_does() -> None:
    for role in (events(8001), replica("photometry", 1, 8002)):
        assert role.ready_url == f"http://127.0.0.1:{role.port}/readyz"
        assert role.environment["SKYRELAY_HEALTH_PORT"] == str(role.port)


def test_a_service_elsewhere_is_started_from_the_module_that_its_stage_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = Stage(
        step="s", service="other", state="s", title="S", service_module="observatory.other"
    )
    monkeypatch.setattr(stages, "STAGES", (*stages.STAGES, elsewhere))
    assert replica("other", 1, 8001).command[-1] == "observatory.other"
    assert replica("inspect", 1, 8001).command[-1] == "services.inspect.service"
