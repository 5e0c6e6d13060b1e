"""Is the whole API described, and is the description what programs can read?"""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis

from gateway.openapi.document import methods_of
from gateway.openapi.pages import PAGES, document
from gateway.openapi.parameters import path_of
from tests.support.gateway import Bench

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def _operations(bench: Bench) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (path, method): operation
        for path, operations in document(bench.app)["paths"].items()
        for method, operation in operations.items()
    }


def test_every_route_is_described(bench: Bench) -> None:
    described = _operations(bench)
    routes = [
        (path_of(rule), method.lower())
        for rule in bench.app.url_map.iter_rules()
        if not rule.endpoint.startswith(PAGES)
        for method in methods_of(rule)
    ]
    assert sorted(routes) == sorted(described)
    assert len(routes) > 25


def test_every_route_has_a_summary_and_examples(bench: Bench) -> None:
    for route, operation in _operations(bench).items():
        assert operation["summary"].endswith((".", ";")) or operation["summary"], route
        contents = [operation.get("requestBody", {})]
        contents += [answer for answer in operation["responses"].values()]
        for content in contents:
            for kind in content.get("content", {}).values():
                assert "example" in kind, route
        for parameter in operation["parameters"]:
            assert "example" in parameter and parameter["description"], (route, parameter)


def test_the_document_is_open_to_all_and_valid(bench: Bench) -> None:
    answer = bench.app.test_client().get("/api/openapi.json")
    assert answer.status_code == 200
    assert answer.json["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(answer.json).validate()


def test_the_interactive_page_needs_nothing_from_elsewhere(bench: Bench) -> None:
    http = bench.app.test_client()
    page = http.get("/api/docs/").get_data(as_text=True)
    assert "/api/openapi.json" in page and "http" not in page.replace("http://localhost", "")
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js"):
        assert f"/api/docs/{asset}" in page
        with http.get(f"/api/docs/{asset}") as answer:
            assert answer.status_code == 200


def _headers(operation: dict[str, Any]) -> set[str]:
    return {each["name"] for each in operation["parameters"] if each["in"] == "header"}


def test_headers_that_clients_send_and_get_are_described(bench: Bench) -> None:
    described = _operations(bench)
    for path in ("/api/tasks/", "/api/tasks/{task_id}/process/", "/api/batches/"):
        made = described[path, "post"]
        assert _headers(made) == {"Idempotency-Key"}
        (success,) = (each for status, each in made["responses"].items() if status < "3")
        assert "Idempotency-Replayed" in success["headers"]
    file = described["/api/tasks/{task_id}/files/{path}", "get"]
    assert _headers(file) == {"Range", "If-None-Match"}
    assert file["responses"]["206"]["headers"].keys() == {"ETag", "Content-Range"}
    assert file["responses"]["302"]["headers"].keys() == {"Location"}
    picture = described["/api/tasks/{task_id}/preview/{path}", "get"]
    assert _headers(picture) == {"If-None-Match"}
    assert picture["responses"]["200"]["headers"].keys() == {"ETag"}
    assert _headers(described["/api/events/", "get"]) == {"Last-Event-ID"}
    log = described["/api/tasks/{task_id}/logs/{step}/", "get"]
    assert _headers(log) == {"Range"}
    assert log["responses"]["200"]["headers"].keys() == {"X-Log"}
    assert log["responses"]["416"]["headers"].keys() == {"Content-Range", "X-Log"}
    for (path, _), operation in described.items():
        if path.startswith("/api/"):
            assert {"414", "431"} <= operation["responses"].keys()
            for status in {"429", "503"} & operation["responses"].keys():
                assert "Retry-After" in operation["responses"][status]["headers"], path
    coverage = described["/api/coverage/", "get"]
    (moc,) = (each for each in coverage["parameters"] if each["name"] == "moc")
    assert "8190" in moc["description"] and "POST" in moc["description"]
