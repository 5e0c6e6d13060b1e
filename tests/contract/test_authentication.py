"""Who gets a token, and who is let in with it?"""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete

from gateway import accounts
from gateway.models import ApiToken
from skyrelay.store import TaskStore
from tests.support.gateway import PASSWORD, SECRET, Bench, Caller


def test_a_user_gets_the_same_token_each_time_and_it_opens_the_door(
    bench: Bench, alice: Caller
) -> None:
    credentials = {"username": "alice", "password": PASSWORD}
    first = bench.app.test_client().post("/api/auth/token/", data=credentials)
    second = bench.app.test_client().post("/api/auth/token", json=credentials)
    assert first.status_code == second.status_code == 200
    assert first.json == second.json == {"token": alice.token}
    assert len(alice.token) == 40
    assert alice.get("tasks/").status_code == 200


def test_first_logins_at_once_get_the_same_token(bench: Bench, alice: Caller) -> None:
    with bench.gateway.database.writing() as session:
        session.execute(delete(ApiToken))
    start = threading.Barrier(6)

    def log_in(_: int) -> str:
        start.wait()
        with bench.gateway.database.writing() as session:
            user = accounts.find_user(session, "alice")
            assert user is not None
            key = accounts.key_of(session, user, SECRET)
            time.sleep(0.05)  # Both must have looked before one of them commits.
            return key

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(log_in, range(6)))) == 1


def test_the_key_of_a_token_is_nowhere_in_the_database(bench: Bench, alice: Caller) -> None:
    with bench.gateway.database.reading() as session:
        (token,) = session.query(ApiToken).all()
    assert alice.token not in (token.nonce, token.key_hash)


@pytest.mark.parametrize("password", ["wrong", "", None])
def test_a_wrong_password_gets_no_token(bench: Bench, alice: Caller, password: str | None) -> None:
    body = {"username": "alice", "password": password}
    answer = bench.app.test_client().post("/api/auth/token/", json=body)
    assert answer.status_code == 400
    expected = "password" if not password else "non_field_errors"
    assert list(answer.json) == [expected]


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_a_login_is_short(bench: Bench, kind: str) -> None:
    answer = bench.app.test_client().post("/api/auth/token/", data=b"x" * 70_000, content_type=kind)
    assert answer.status_code == 413


def test_nobody_puts_a_file_on_the_disk_without_a_token(
    bench: Bench, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(TaskStore, "incoming", asked.append)
    login = {"username": "alice", "password": PASSWORD}
    small, large = ((io.BytesIO(b"x" * size), "a.fits") for size in (10, 200_000))
    client = bench.app.test_client()
    assert client.post("/api/auth/token/", data=login | {"file": small}).status_code == 400
    assert client.post("/api/auth/token/", data=login | {"file": large}).status_code == 413
    plain = client.post("/api/auth/token/", data=login, content_type="multipart/form-data")
    assert plain.json == {"token": alice.token}
    assert asked == []


def test_an_unknown_user_gets_the_same_answer_as_a_wrong_password(bench: Bench) -> None:
    body = {"username": "nobody", "password": "x"}
    answer = bench.app.test_client().post("/api/auth/token/", json=body)
    assert answer.status_code == 400
    assert answer.json == {"non_field_errors": ["Unable to log in with provided credentials."]}


def test_missing_credentials_are_named(bench: Bench) -> None:
    answer = bench.app.test_client().post("/api/auth/token/", json={})
    assert answer.status_code == 400
    assert answer.json == {
        "username": ["This field is required."],
        "password": ["This field is required."],
    }


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        ({}, "Authentication credentials were not provided."),
        ({"Authorization": "Basic YTpi"}, "Authentication credentials were not provided."),
        ({"Authorization": "Token 0123456789"}, "Invalid token."),
        ({"Authorization": "Token"}, None),
        ({"Authorization": "Token one two"}, None),
    ],
)
def test_without_a_good_token_nobody_is_let_in(
    bench: Bench, header: dict[str, str], detail: str | None
) -> None:
    answer = bench.app.test_client().get("/api/tasks/", headers=header)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Token"
    if detail is not None:
        assert answer.json == {"detail": detail}


def test_a_user_who_was_switched_off_is_not_let_in(bench: Bench) -> None:
    mallory = bench.caller("mallory", is_active=False)
    assert mallory.get("tasks/").status_code == 401


def test_health_needs_no_token(bench: Bench) -> None:
    http = bench.app.test_client()
    assert http.get("/healthz").json == {"status": "ok"}
    ready = http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json["database"] is True
    assert b"Skyrelay" in http.get("/").data


def test_errors_of_the_api_are_json(alice: Caller) -> None:
    missing = alice.get("nothing/of/the/kind/")
    assert (missing.status_code, missing.json) == (404, {"detail": "Not found."})
    wrong = alice("PUT", "tasks/")
    assert (wrong.status_code, wrong.json) == (405, {"detail": 'Method "PUT" not allowed.'})
    assert "GET" in wrong.headers["Allow"]


def test_search_engines_are_sent_away(bench: Bench) -> None:
    answer = bench.app.test_client().get("/robots.txt")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    assert answer.text == "User-agent: *\nDisallow: /\n"
