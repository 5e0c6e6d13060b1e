"""Is every request, however it was made up, answered by one of the described answers?

Requests are made from the description itself, with allowed and with forbidden values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.api import preprocessing
from gateway.openapi.pages import document
from tests.support.gateway import Bench, Caller

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

#: Requests of each kind for each route: many would take minutes, and find what few do.
_EXAMPLES = 5
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
#: A stream that is there does not end.
_ENDLESS = "/api/tasks/{task_id}/events/"


def _operations(bench: Bench) -> Iterator[schemathesis.APIOperation[Any, Any, Any, Any]]:
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app=bench.app)
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path.startswith("/api/") and operation.path != _ENDLESS:
            yield operation


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
def test_every_request_gets_an_answer_that_is_described(
    bench: Bench, admin: Caller, monkeypatch: pytest.MonkeyPatch, mode: GenerationMode
) -> None:
    monkeypatch.setattr(preprocessing, "PATIENCE", 0.0)
    key = {"Authorization": f"Token {admin.token}"}
    count = 0

    def attack(operation: Any) -> None:
        @settings(
            max_examples=_EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case: schemathesis.Case) -> None:
            nonlocal count
            count += 1
            if count % 2 and "task_id" in (case.path_parameters or {}):
                # A task that there is, so that more than the look for it is tried.
                case.path_parameters["task_id"] = _some_task(admin)
            response = case.call(headers=key)
            case.validate_response(response, checks=_CHECKS)

        check()

    for operation in _operations(bench):
        # Where every value is allowed, there are no requests with forbidden ones.
        with suppress(Unsatisfiable):
            attack(operation)
    assert count > 50


def _some_task(caller: Caller) -> int:
    tasks = caller.get("tasks/?limit=1").json["results"]
    return int(tasks[0]["id"]) if tasks else caller.new_task()


def test_whoever_has_no_token_gets_nothing_but_what_is_open(bench: Bench) -> None:
    http = bench.app.test_client()
    for path, operations in document(bench.app)["paths"].items():
        for method, operation in operations.items():
            if operation.get("security") == []:
                continue
            url = re.sub(r"{(\w+)}", lambda name: "1" if name[1].endswith("_id") else "a", path)
            for headers in ({}, {"Authorization": "Token wrong"}, {"Authorization": "Token"}):
                answer = http.open(url, method=method.upper(), headers=headers)
                assert answer.status_code == 401, (method, path, headers)
                assert answer.headers["WWW-Authenticate"]
