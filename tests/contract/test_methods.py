"""Does every route say which methods it takes to whoever tries another one?"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from gateway.openapi.pages import document
from tests.support.gateway import Bench, Caller

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"}
#: A run could be called so, for all that its own route knows.
_ALSO = {"/api/queue/terminate_all/": {"GET"}}


def _routes(bench: Bench) -> Iterator[tuple[str, set[str]]]:
    """A path of every route, without what follows its last slash, and the methods it takes."""
    for path, operations in document(bench.app)["paths"].items():
        made = re.sub(r"\{run_id\}", "0" * 8 + "-0000-0000-0000-" + "0" * 12, path)
        made = re.sub(r"\{\w*path\w*\}", "a.fits", re.sub(r"\{\w*id\}", "1", made))
        yield (
            re.sub(r"\{\w+\}", "1", made),
            {m.upper() for m in operations} | _ALSO.get(path, set()),
        )


@pytest.mark.parametrize("slash", ["/", ""], ids=["slash", "no slash"])
def test_a_method_that_a_route_does_not_take_is_answered_with_those_it_does(
    bench: Bench, alice: Caller, slash: str
) -> None:
    tried = 0
    for path, taken in _routes(bench):
        asked = path.rstrip("/") + slash
        if not asked.startswith("/api/"):
            continue
        for method in _METHODS - taken:
            answer = alice(method, asked.removeprefix("/api/"))
            assert answer.status_code == 405, (method, asked)
            assert taken <= set(answer.headers["Allow"].split(", ")), (method, asked)
            assert answer.json == {"detail": f'Method "{method}" not allowed.'}
            tried += 1
    assert tried > 100


def test_where_there_is_no_route_no_method_is_named(alice: Caller) -> None:
    for path in ("nothing", "nothing/", "tasks/1/nothing", "tasks/one"):
        answer = alice.get(path)
        assert (answer.status_code, answer.headers.get("Allow")) == (404, None)
