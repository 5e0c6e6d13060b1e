"""Does the wire contract hold what it promises, and refuse the rest with a reason?"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from pydantic import ValidationError

from skyrelay.messages import (
    KillRun,
    Message,
    Outcome,
    RunStage,
    StageFinished,
    StageProgressed,
    StageStarted,
    UnreadableMessage,
    parse,
)

RUN = uuid4()
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ABOUT = {"run": RUN, "task": 7, "index": 0, "step": "inspect", "attempt": 1, "worker": "w"}

MESSAGES: list[Message] = [
    RunStage(run=RUN, task=7, index=0, step="inspect", config="a/b.json"),
    KillRun(run=RUN, task=7),
    StageStarted(**ABOUT, started=WHEN),
    StageProgressed(**ABOUT, fraction=0.5, doing="matching"),
    StageFinished(
        **ABOUT, outcome=Outcome.FAILED, reasons=("No stars.",), started=WHEN, finished=WHEN
    ),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind)
def test_a_message_arrives_as_it_was_sent(message: Message) -> None:
    assert parse(message.to_json()) == message
    assert parse(message.to_json().encode()) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind)
def test_a_message_is_small_and_names_its_kind_and_version(message: Message) -> None:
    content = json.loads(message.to_json())
    assert (content["kind"], content["version"]) == (type(message).__name__, 1)
    assert len(message.to_json()) < 600


def changed(**fields: object) -> str:
    content = json.loads(MESSAGES[0].to_json()) | fields
    return json.dumps({name: value for name, value in content.items() if value != "absent"})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "Invalid JSON"),
        ("[]", "should be an object"),
        (b"\xff\xfe", "Invalid JSON"),
        (changed(version=2), r"RunStage\.version"),
        (changed(version=0), r"RunStage\.version"),
        (changed(kind="RunTask"), "does not match any of the expected tags"),
        (changed(kind="absent"), "Unable to extract tag"),
        (changed(run="7"), r"RunStage\.run"),
        (changed(task="absent"), r"RunStage\.task"),
        (changed(index=-1), r"RunStage\.index"),
        (changed(attempt=0), r"RunStage\.attempt"),
        (changed(image="SIMPLE  = T"), r"RunStage\.image"),
    ],
)
def test_what_does_not_follow_the_contract_is_refused_with_the_place(
    body: str | bytes, reason: str
) -> None:
    with pytest.raises(UnreadableMessage, match=reason):
        parse(body)


def test_a_message_cannot_be_changed_after_it_was_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        MESSAGES[0].task = 8  # type: ignore[misc]
