"""How does a test open a gateway in its own process, and play the stages to it?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from flask.testing import FlaskClient
from sqlalchemy import delete, select
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from gateway import accounts
from gateway.app import create_app
from gateway.core import Gateway, open_gateway
from gateway.current import parts_of
from gateway.migrate import migrate
from gateway.models import Group, OutboxMessage, Task, now
from gateway.new_store import make_store
from gateway.orchestration.advance import record
from skyrelay.messages import (
    KillRun,
    Message,
    Outcome,
    RunStage,
    StageFinished,
    StageProgressed,
    StageStarted,
    parse,
)
from skyrelay.records import AttemptRecord, SkyField, Value
from skyrelay.settings import Settings
from skyrelay.stage.provenance import products_in, software
from tests.support.described import check_described

SECRET = "a secret for tests, long enough"
PASSWORD = "correct horse"
#: Made once: a good hash takes long on purpose.
_PASSWORD_HASH = accounts.hash_of(PASSWORD)

_compile_builder = Rule._compile_builder
_BUILDERS: dict[tuple[Any, ...], Callable[..., tuple[str, str]]] = {}


def _builder(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
    """werkzeug's compiled function that makes addresses of a rule, once for all applications.

    It depends on the text of the rule alone, and took most of the time of making an application.
    """
    if rule.defaults:
        return _compile_builder(rule, append_unknown)
    key = (rule.rule, tuple(rule._trace), append_unknown)
    if key not in _BUILDERS:
        _BUILDERS[key] = _compile_builder(rule, append_unknown)
    return _BUILDERS[key]


Rule._compile_builder = _builder  # type: ignore[method-assign]


@contextmanager
def opened(folder: Path, database_url: str, **settings: Any) -> Iterator[Gateway]:
    """A gateway with its tables; nothing of it publishes."""
    given = {
        "database_url": database_url,
        "tasks_path": folder / "tasks",
        "data_path": folder / "data",
        "secret_key": SECRET,
        **settings,
    }
    (folder / "data").mkdir(exist_ok=True)
    gateway = open_gateway(Settings(_env_file=None, **given))
    try:
        migrate(gateway.database)
        make_store(gateway)
        yield gateway
    finally:
        gateway.close()


def add_user(gateway: Gateway, name: str, *groups: str, **fields: Any) -> str:
    """Make a user; the key of the user's token."""
    with gateway.database.writing() as session:
        user = accounts.create_user(session, name, "")
        user.password_hash = _PASSWORD_HASH
        for field, value in fields.items():
            setattr(user, field, value)
        user.groups = [_group(session, group) for group in groups]
        return accounts.key_of(session, user, gateway.settings.secret_key)


def _group(session: Any, name: str) -> Group:
    found = session.scalar(select(Group).where(Group.name == name))
    return found or Group(name=name)


#: All stages of an image, in their order.
CHAIN = ["inspect", "photometry", "simple_transients", "subtraction"]


@dataclass(frozen=True)
class Caller:
    """A user of the API, without a network."""

    http: FlaskClient
    token: str

    def __call__(self, method: str, path: str, **options: Any) -> TestResponse:
        """Send a request to a path under ``/api/``; its answer must be one that is described."""
        headers = {"Authorization": f"Token {self.token}"} | options.pop("headers", {})
        answer = self.http.open(f"/api/{path}", method=method, headers=headers, **options)
        check_described(self.http.application, answer)
        return answer

    def get(self, path: str, **options: Any) -> TestResponse:
        return self("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self("POST", path, **options)

    def new_task(self, name: str = "image.fits", **fields: Any) -> int:
        """Make a task without an image; its id."""
        answer = self.post("tasks/", json={"original_name": name, **fields})
        assert answer.status_code == 201, answer.json
        assert isinstance(answer.json, dict)
        return int(answer.json["id"])

    def process(self, task: int, *steps: str, **config: Any) -> TestResponse:
        """Have a task processed, by all stages of `CHAIN` if none is named."""
        body = {"steps": list(steps or CHAIN), "config": config}
        return self.post(f"tasks/{task}/process/", json=body)

    def state(self, task: int) -> dict[str, Any]:
        """What the task's state is said to be."""
        answer: dict[str, Any] = self.get(f"tasks/{task}/state").json
        return answer

    def latest_run(self, task: int) -> dict[str, Any]:
        """What is said of the task's latest run."""
        answer: dict[str, Any] = self.get(f"tasks/{task}/runs/").json[0]
        return answer


class Bench:
    """A gateway, its API, and stages that are played by the test."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.app = create_app(gateway)
        self.store = gateway.store

    def caller(self, name: str, *groups: str, **fields: Any) -> Caller:
        """A new user of the API."""
        return Caller(self.app.test_client(), add_user(self.gateway, name, *groups, **fields))

    def close(self) -> None:
        """Let nothing of the application go on."""
        parts = parts_of(self.app)
        parts.feed.stop()
        parts.renderers.stop()

    def state(self, task: int) -> str:
        """The task's state in the database."""
        with self.gateway.database.reading() as session:
            return session.get_one(Task, task).state

    def outbox(self) -> list[Message]:
        """The messages that wait to be published; they are taken out."""
        with self.gateway.database.writing() as session:
            rows = session.scalars(select(OutboxMessage).order_by(OutboxMessage.id)).all()
            session.execute(delete(OutboxMessage))
        return [parse(row.body) for row in rows]

    def command(self) -> RunStage:
        """The one command that waits to be published."""
        (command,) = self.commands()
        return command

    def commands(self) -> list[RunStage]:
        """The commands that wait to be published."""
        return [message for message in self.outbox() if isinstance(message, RunStage)]

    def kill(self) -> KillRun:
        """The one kill that waits to be published."""
        (kill,) = [message for message in self.outbox() if isinstance(message, KillRun)]
        return kill

    def run(self, caller: Caller, task: int, step: str, **finished: Any) -> str:
        """Have a run of one step go well, as `finished` says; its id."""
        answer = caller.post(f"tasks/{task}/process/", json={"steps": [step]})
        assert isinstance(answer.json, dict)
        self.hear(self.finished(self.command(), **finished))
        return str(answer.json["celery_id"])

    def hear(self, *news: Any) -> None:
        """Let the gateway hear these news, one by one."""
        for item in news:
            record(self.gateway, [item])

    def started(self, command: RunStage) -> StageStarted:
        """The news that an attempt has begun."""
        return StageStarted(**_about(command), started=now())

    def progressed(self, command: RunStage, fraction: float, doing: str = "") -> StageProgressed:
        """The news how far an attempt is."""
        return StageProgressed(**_about(command), fraction=fraction, doing=doing)

    def finished(
        self,
        command: RunStage,
        outcome: Outcome = Outcome.DONE,
        *reasons: str,
        config: dict[str, Any] | None = None,
        field: SkyField | None = None,
        product: str | None = None,
        make: Callable[[Path], None] | None = None,
        parts: int = 0,
    ) -> StageFinished:
        """Carry an attempt out in the store; the news of its end."""
        begun = now()
        attempt = self.store.attempt(command)
        with attempt.claimed():
            scratch = attempt.open_scratch()
            if product is not None:
                (scratch / product).write_text(product)
            if make is not None:
                make(scratch)
            kept = AttemptRecord(
                run=str(command.run),
                index=command.index,
                step=command.step,
                part=command.part,
                attempt=command.attempt,
                parts=parts,
                outcome=outcome,
                reasons=reasons,
                started=begun,
                finished=now(),
                config=self.store.read_config(command.config) | (config or {}),
                field=field,
                values={"fwhm": Value(value=3.5, error=0.1, unit="px")},
                software=software(),
                products=products_in(scratch),
            )
            if parts or 0 < command.part <= command.parts:
                attempt.publish_piece(kept)
            else:
                attempt.publish(kept)
        return StageFinished(
            **_about(command),
            outcome=outcome,
            parts=parts,
            reasons=reasons,
            started=begun,
            finished=now(),
            record=attempt.record_key,
        )

    def failed_without_record(self, command: RunStage, reason: str) -> StageFinished:
        """The news that an attempt has failed of which nothing could be written."""
        return StageFinished(
            **_about(command),
            outcome=Outcome.FAILED,
            reasons=(reason,),
            started=now(),
            finished=now(),
            record=None,
        )


def runs_on_disk(gateway: Gateway) -> set[UUID]:
    """The runs that have a folder in the store."""
    return {each.run for each in gateway.store.runs()}


def _about(command: RunStage) -> dict[str, Any]:
    return {
        "run": command.run,
        "task": command.task,
        "index": command.index,
        "step": command.step,
        "part": command.part,
        "attempt": command.attempt,
        "worker": "bench",
    }
