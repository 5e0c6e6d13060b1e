"""Is every request, however it was made up, answered by one of the described answers?

Requests are made from the description itself, with allowed and with forbidden values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.api import preprocessing, stream
from gateway.openapi.pages import document
from tests.support.gateway import Bench, Caller

pytestmark = [
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
    pytest.mark.long,
]

#: Requests of each kind for each route, by who sends them: many would take minutes, and find what
#: few do.
_EXAMPLES = {"an administrator": 4, "a user with small quotas": 2}


def _no_defect(_: Any, response: Any, case: Any) -> None:
    """Fail for an error of ours; 502 and 503, of others, are described where they may come."""
    assert response.status_code not in (500, 501), case.as_curl_command()


_CHECKS = [
    _no_defect,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def _operations(bench: Bench) -> Iterator[schemathesis.APIOperation[Any, Any, Any, Any]]:
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app=bench.app)
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path.startswith("/api/"):
            yield operation


#: A bound for each thing that there are quotas of, which the requests soon reach.
_QUOTAS = {"quota_tasks": 3, "quota_bytes": 100_000, "quota_runs": 1}


@pytest.mark.parametrize("who", _EXAMPLES)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
def test_every_request_gets_an_answer_that_is_described(
    bench: Bench, admin: Caller, monkeypatch: pytest.MonkeyPatch, mode: GenerationMode, who: str
) -> None:
    monkeypatch.setattr(preprocessing, "PATIENCE", 0.0)
    # Whoever reads all of a stream waits for its end.
    monkeypatch.setattr(stream, "_LONGEST", 0.0)
    hidden = admin.new_task()
    caller = admin if who == "an administrator" else bench.caller("carol", **_QUOTAS)
    key = {"Authorization": f"Token {caller.token}"}
    described = document(bench.app)
    count = 0

    def attack(operation: Any) -> None:
        @settings(
            max_examples=_EXAMPLES[who],
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
                case.path_parameters["task_id"] = _some_task(caller)
            if count % 3 == 0:
                fields = _fields(described, case.operation.path, case.method)
                _name_a_task(case, fields, hidden if count % 2 else 4711)
            response = case.call(headers=key)
            case.validate_response(response, checks=_CHECKS)

        check()

    for operation in _operations(bench):
        # Where every value is allowed, there are no requests with forbidden ones.
        with suppress(Unsatisfiable):
            attack(operation)
    assert count > 50


def _name_a_task(case: schemathesis.Case, fields: set[str], task: int) -> None:
    """Have the configuration of the request, if it may have one, name this task of another."""
    inputs: dict[str, Any] = {
        "stack_filenames": [f"tasks/{task}/image.fits", "a.fits"],
        "simple_others": [task],
    }
    body = case.body
    if not isinstance(body, dict):
        return
    steps = ["stack", "simple_transients"]
    if "config" in fields:
        body |= {"original_name": "a.fits", "steps": steps, "config": inputs}
    elif fields & {"action", "do_simple_transients"}:
        # The older interface has the parameters among its fields.
        body |= {"action": "simple_transients", "do_simple_transients": "true"}
        body |= {"simple_others": json.dumps([task])}


def _fields(described: dict[str, Any], path: str, method: str) -> set[str]:
    """Names of the fields of the body that an operation takes."""
    content = described["paths"][path][method.lower()].get("requestBody", {}).get("content", {})
    found: set[str] = set()
    for kind in content.values():
        schema = kind["schema"]
        while "$ref" in schema:
            schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        found |= schema.get("properties", {}).keys()
    return found


def _some_task(caller: Caller) -> int:
    tasks = caller.get("tasks/?limit=1").json["results"]
    if tasks:
        return int(tasks[0]["id"])
    made = caller.post("tasks/", json={"original_name": "a.fits"})
    return int(made.json["id"]) if made.status_code == 201 else 1


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
