"""Who is let in, with a browser or a token, and what may users and administrators change?"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from gateway.accounts import throttle
from gateway.accounts.users import first_administrator
from gateway.app import create_app
from gateway.models import ApiToken, AuditEntry, BrowserSession, LoginAttempts, User, now
from skyrelay.errors import Permanent
from skyrelay.settings import Settings
from tests.support.gateway import PASSWORD, Bench, Caller

LOGIN = {"username": "alice", "password": PASSWORD}


def log_in(bench: Bench, **login: str) -> FlaskClient:
    """A browser with its cookies."""
    browser = bench.app.test_client()
    assert browser.post("/api/auth/login/", json=LOGIN | login).status_code == 200
    return browser


def csrf(browser: FlaskClient) -> dict[str, str]:
    cookie = browser.get_cookie("csrftoken")
    assert cookie is not None
    return {"X-CSRFToken": cookie.value}


def audit(admin: Caller, **filters: Any) -> list[dict[str, Any]]:
    answer = admin.get("audit/", query_string=filters)
    assert answer.status_code == 200, answer.json
    assert isinstance(answer.json, dict)
    found: list[dict[str, Any]] = answer.json["results"]
    return found


# Browsers


def test_a_browser_is_let_in_with_its_cookie_until_it_logs_out(bench: Bench, alice: Caller) -> None:
    browser = log_in(bench)
    assert browser.get("/api/user/").json["username"] == "alice"
    cookie = browser.get_cookie("sessionid")
    assert cookie is not None
    assert cookie.http_only and cookie.same_site == "Lax"
    assert browser.post("/api/auth/logout/", headers=csrf(browser)).status_code == 204
    browser.set_cookie("sessionid", cookie.value)
    assert browser.get("/api/user/").status_code == 401


def test_a_page_of_somebody_else_changes_nothing(bench: Bench, alice: Caller) -> None:
    browser, other = log_in(bench), log_in(bench)
    task = {"original_name": "a.fits"}
    missing = browser.post("/api/tasks/", json=task)
    assert (missing.status_code, missing.json) == (
        403,
        {"detail": "CSRF Failed: CSRF token missing."},
    )
    foreign = browser.post("/api/tasks/", json=task, headers=csrf(other))
    assert foreign.json == {"detail": "CSRF Failed: CSRF token incorrect."}
    assert browser.post("/api/tasks/", json=task, headers=csrf(browser)).status_code == 201
    assert browser.get("/api/tasks/").json[0]["user"] == "alice"


def test_a_page_of_somebody_else_logs_nobody_in(bench: Bench, alice: Caller) -> None:
    browser = bench.app.test_client()
    headers = {"Origin": "https://evil.example"}
    assert browser.post("/api/auth/login/", json=LOGIN, headers=headers).status_code == 403
    headers = {"Origin": "http://localhost"}
    assert browser.post("/api/auth/login/", json=LOGIN, headers=headers).status_code == 200


def test_a_session_ends_by_itself(bench: Bench, alice: Caller) -> None:
    browser = log_in(bench)
    with bench.gateway.database.writing() as session:
        session.execute(update(BrowserSession).values(expires=now()))
    assert browser.get("/api/user/").status_code == 401


def test_a_new_password_logs_all_browsers_out_and_tokens_stay(bench: Bench, alice: Caller) -> None:
    first, second = log_in(bench), log_in(bench)
    change = {"old_password": PASSWORD, "new_password": "another long one"}
    wrong = change | {"old_password": "guess"}
    assert "old_password" in alice.post("auth/password/", json=wrong).json
    short = change | {"new_password": "short"}
    assert "new_password" in alice.post("auth/password/", json=short).json
    answer = first.post("/api/auth/password/", json=change, headers=csrf(first))
    assert answer.status_code == 204
    assert {first.get("/api/user/").status_code, second.get("/api/user/").status_code} == {401}
    assert alice.get("user/").status_code == 200
    assert log_in(bench, password="another long one").get("/api/user/").status_code == 200
    with bench.gateway.database.reading() as session:
        user = session.query(User).filter_by(username="alice").one()
    assert user.password_hash.startswith("$argon2id$")


# Tries to log in


def test_whoever_guesses_has_to_wait_on_every_process(bench: Bench, alice: Caller) -> None:
    other = create_app(bench.gateway)
    wrong = LOGIN | {"password": "a guess"}
    clients = [bench.app.test_client(), other.test_client()]
    for number in range(throttle.MOST_FOR_NAME_FROM_ADDRESS):
        assert clients[number % 2].post("/api/auth/token/", json=wrong).status_code == 400
    for client in clients:
        # Not even the right password is looked at.
        answer = client.post("/api/auth/token/", json=LOGIN)
        assert answer.status_code == 429
        assert 0 < int(answer.headers["Retry-After"]) <= throttle.WINDOW.total_seconds()
    assert alice.get("user/").status_code == 200
    with bench.gateway.database.writing() as session:
        session.execute(update(LoginAttempts).values(until=now() - timedelta(seconds=1)))
    assert clients[0].post("/api/auth/token/", json=LOGIN).status_code == 200


def test_many_guesses_at_once_do_not_slip_through(bench: Bench, alice: Caller) -> None:
    start = threading.Barrier(8)

    def guess(_: int) -> list[bool]:
        start.wait()
        found = []
        for _ in range(4):
            with bench.gateway.database.writing() as session:
                found.append(throttle.spend(session, "alice", "192.0.2.1") == 0)
        return found

    with ThreadPoolExecutor(8) as pool:
        passed = sum(sum(found) for found in pool.map(guess, range(8)))
    assert passed == throttle.MOST_FOR_NAME_FROM_ADDRESS


def test_the_right_password_in_time_is_forgiven(bench: Bench, alice: Caller) -> None:
    client = bench.app.test_client()
    for _ in range(3):
        for _ in range(throttle.MOST_FOR_NAME_FROM_ADDRESS - 1):
            client.post("/api/auth/token/", json=LOGIN | {"password": "oops"})
        assert client.post("/api/auth/token/", json=LOGIN).status_code == 200


# Tokens


def test_a_user_has_several_tokens_that_expire_and_can_be_revoked(
    bench: Bench, alice: Caller, eve: Caller
) -> None:
    expires = (now() + timedelta(days=1)).isoformat()
    made = alice.post("tokens/", json={"name": "telescope", "expires": expires})
    assert made.status_code == 201, made.json
    program = Caller(alice.http, made.json["token"])
    assert program.get("user/").json["username"] == "alice"
    listed = {token["name"]: token for token in alice.get("tokens/").json}
    assert set(listed) == {"api", "telescope"}
    assert listed["telescope"]["last_used"] is not None
    assert "token" not in listed["telescope"]
    with bench.gateway.database.writing() as session:
        stored = session.get_one(ApiToken, made.json["id"])
        assert program.token not in (stored.key_hash, stored.nonce)
        stored.expires = now()
    assert program.get("user/").status_code == 401
    path = f"tokens/{made.json['id']}/"
    assert eve("DELETE", path).status_code == 403
    assert alice("DELETE", path).status_code == 204
    assert alice("DELETE", path).status_code == 404
    assert alice.get("user/").status_code == 200


def test_a_revoked_token_opens_no_door_from_that_moment_on(bench: Bench, alice: Caller) -> None:
    (default,) = alice.get("tokens/").json
    assert alice("DELETE", f"tokens/{default['id']}/").status_code == 204
    assert alice.get("user/").status_code == 401
    again = bench.app.test_client().post("/api/auth/token/", json=LOGIN)
    assert again.json["token"] != alice.token


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"name": "x" * 101}, 400),
        ({"name": "a", "expires": "tomorrow"}, 400),
        ({"name": "a", "expires": "2001-01-01"}, 400),
        ({"name": "a", "expires": "0001-01-01T00:00:00+23:59"}, 400),
        ({"name": "api"}, 409),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(
    alice: Caller, body: dict[str, str], status: int
) -> None:
    assert alice.post("tokens/", json=body).status_code == status


# Administration


def test_only_administrators_manage_users_groups_and_the_audit_log(
    alice: Caller, bob: Caller
) -> None:
    group = alice.get("groups/").json[0]
    assert group == {"id": group["id"], "name": "observers", "members": 2}
    for method, path in [
        ("GET", "users/"),
        ("POST", "users/"),
        ("PATCH", "users/1/"),
        ("DELETE", "users/1/"),
        ("POST", "groups/"),
        ("PATCH", f"groups/{group['id']}/"),
        ("DELETE", f"groups/{group['id']}/"),
        ("POST", f"groups/{group['id']}/members/"),
        ("GET", "audit/"),
        ("GET", "disk/"),
        ("GET", "tokens/?user=bob"),
    ]:
        body = None if method == "GET" else {"name": "x"}
        assert alice(method, path, json=body).status_code == 403, path
    assert alice.get(f"groups/{group['id']}/").json["members"] == ["alice", "bob"]
    assert alice.get("user/").json["groups"] == ["observers"]


def test_an_administrator_makes_users_grants_rights_and_takes_them_back(
    bench: Bench, admin: Caller, alice: Caller
) -> None:
    task = alice.new_task()
    body = {"username": "carol", "password": "long enough", "view_all_tasks": True}
    made = admin.post("users/", json=body | {"groups": ["observers"], "quota_tasks": 2})
    assert made.status_code == 201, made.json
    carol = made.json["id"]
    assert made.json["permissions"] == ["view_all_tasks"]
    assert admin.post("users/", json=body).status_code == 400
    browser = log_in(bench, username="carol", password="long enough")
    assert browser.get(f"/api/tasks/{task}/").status_code == 200
    path = f"users/{carol}/"
    changed = admin("PATCH", path, json={"view_all_tasks": "false", "groups": []})
    assert (changed.status_code, changed.json["permissions"]) == (200, [])
    assert browser.get(f"/api/tasks/{task}/").status_code == 403
    assert admin("PATCH", path, json={"is_active": False}).status_code == 200
    assert browser.get("/api/user/").status_code == 401
    assert [user["username"] for user in admin.get("users/?query=CAR").json] == ["carol"]
    assert admin("DELETE", path).status_code == 204
    assert admin.get(path).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"username": ""},
        {"username": " x"},
        {"username": "alice"},
        {"is_staff": "perhaps"},
        {"quota_bytes": -1},
        {"quota_runs": 2**31},
        {"password": "short"},
        {"groups": ["nobody"]},
        {"email": "x" * 255},
    ],
)
def test_what_makes_no_sense_of_a_user_is_refused_and_changes_nothing(
    admin: Caller, alice: Caller, bob: Caller, body: dict[str, Any]
) -> None:
    (user,) = admin.get("users/?query=bob").json
    assert (
        admin("PATCH", f"users/{user['id']}/", json={"first_name": "B"} | body).status_code == 400
    )
    assert admin.get(f"users/{user['id']}/").json == user


def test_somebody_stays_administrator_and_owners_of_tasks_stay(
    admin: Caller, alice: Caller
) -> None:
    alice.new_task()
    (own,) = admin.get("users/?query=admin").json
    (hers,) = admin.get("users/?query=alice").json
    for body in ({"is_staff": False}, {"is_active": False}):
        assert admin("PATCH", f"users/{own['id']}/", json=body).status_code == 409
    assert admin("DELETE", f"users/{own['id']}/").status_code == 409
    assert admin("DELETE", f"users/{hers['id']}/").status_code == 409
    assert alice.get("user/").status_code == 200


def test_groups_are_filled_and_emptied_many_at_once(bench: Bench, admin: Caller) -> None:
    names = [f"observer{number}" for number in range(20)]
    members = {name: bench.caller(name) for name in names}
    made = admin.post("groups/", json={"name": "night shift", "members": names[:5]})
    assert (made.status_code, made.json["members"]) == (201, sorted(names[:5]))
    path = f"groups/{made.json['id']}/"
    task = members["observer0"].new_task(groups=["night shift"])
    assert members["observer9"].get(f"tasks/{task}/").status_code == 403
    changed = admin.post(f"{path}members/", json={"add": names, "remove": names[10:]})
    assert changed.json["members"] == sorted(names[:10])
    assert members["observer9"].get(f"tasks/{task}/").status_code == 200
    assert members["observer15"].get(f"tasks/{task}/").status_code == 403
    assert admin.post(f"{path}members/", json={"add": ["nobody"]}).status_code == 400
    assert admin.post("groups/", json={"name": "night shift"}).status_code == 409
    assert admin("PATCH", path, json={"name": "day shift"}).json["name"] == "day shift"
    assert admin("DELETE", path).status_code == 204
    assert members["observer9"].get(f"tasks/{task}/").status_code == 403


def test_the_first_administrator_comes_from_the_settings(bench: Bench) -> None:
    settings = Settings(
        _env_file=None, skyrelay_admin_name="root", skyrelay_admin_password="long enough"
    )
    for made in (True, False):
        with bench.gateway.database.writing() as session:
            assert (first_administrator(session, settings) is not None) == made
    browser = log_in(bench, username="root", password="long enough")
    assert browser.get("/api/user/").json["is_staff"] is True
    assert "long enough" not in repr(settings)
    nameless = Settings(_env_file=None, skyrelay_admin_name="second")
    with pytest.raises(Permanent), bench.gateway.database.writing() as session:
        first_administrator(session, nameless)


# The audit log


def test_every_change_is_remembered_with_who_when_and_from_where(
    bench: Bench, admin: Caller, alice: Caller
) -> None:
    task = alice.new_task("remember.fits")
    alice("PATCH", f"tasks/{task}/", json={"title": "new"})
    alice("DELETE", f"tasks/{task}/")
    entries = audit(admin, task=task)
    assert [entry["action"] for entry in entries] == ["task_delete", "task_update", "task_create"]
    assert {(entry["user"], entry["ip"]) for entry in entries} == {("alice", "127.0.0.1")}
    assert entries == audit(admin, user="alice", until="2999-01-01")
    assert audit(admin, user="alice", since="2999-01-01") == []
    page = admin.get("audit/", query_string={"task": task, "limit": 2}).json
    rest = audit(admin, task=task, before=page["next"])
    assert page["results"] + rest == entries
    log_in(bench)
    bench.app.test_client().post("/api/auth/token/", json=LOGIN | {"password": "guess"})
    assert [entry["user"] for entry in audit(admin, action="login")] == ["alice"]
    (failed,) = audit(admin, action="login_failed")
    assert failed["details"]["username"] == "alice"


def test_a_change_of_a_task_is_remembered_with_what_was_and_what_is(
    admin: Caller, alice: Caller
) -> None:
    task = alice.new_task("remember.fits", config={"sn": 5.0, "target": "M 51"})
    change = {"title": "new", "groups": ["observers"], "config": {"sn": 3.0, "minarea": 4}}
    alice("PATCH", f"tasks/{task}/", json=change)
    alice("PATCH", f"tasks/{task}/", json=change)
    (updated,) = audit(admin, task=task, action="task_update")
    assert updated["details"]["changes"] == {
        "title": {"old": "", "new": "new"},
        "groups": {"old": [], "new": ["observers"]},
    }
    (configured,) = audit(admin, task=task, action="config_change")
    assert configured["details"]["changes"] == {
        "sn": {"old": 5.0, "new": 3.0},
        "target": {"old": "M 51"},
        "minarea": {"new": 4},
    }


def test_a_run_is_remembered_with_the_configuration_that_came_with_it(
    bench: Bench, admin: Caller, alice: Caller
) -> None:
    task = alice.new_task(config={"sn": 5.0, "minarea": 4})
    request = {"steps": ["archive"], "config": {"sn": 3.0, "minarea": 4, "target": "x" * 5000}}
    run = alice.post(f"tasks/{task}/process/", json=request).json["celery_id"]
    archived, started, configured, _ = audit(admin, task=task)
    assert archived["action"] == "task_archive" and archived["details"]["run"] == run
    assert started["action"] == "processing_start" and started["details"]["steps"] == ["archive"]
    assert configured["action"] == "config_change" and configured["details"]["run"] == run
    changes = configured["details"]["changes"]
    assert changes.keys() == {"sn", "target"} and changes["sn"] == {"old": 5.0, "new": 3.0}
    assert len(changes["target"]["new"]) < 1100
    bench.hear(bench.finished(bench.command()))
    alice.process(task, "cleanup")
    (cleaned,) = audit(admin, task=task, action="task_cleanup")
    assert (cleaned["user"], cleaned["ip"]) == ("alice", "127.0.0.1")


def test_the_audit_log_still_knows_whom_nobody_knows_any_more(admin: Caller, bob: Caller) -> None:
    bob.post("tokens/", json={"name": "x"})
    (user,) = admin.get("users/?query=bob").json
    assert admin("DELETE", f"users/{user['id']}/").status_code == 204
    assert [entry["action"] for entry in audit(admin, user="bob")] == ["token_create"]
    (deleted,) = audit(admin, action="user_delete")
    assert (deleted["user"], deleted["details"]["name"]) == ("admin", "bob")


@pytest.mark.parametrize("query", ["task=x", "limit=-1", "before=99999999999", "since=now"])
def test_a_question_to_the_audit_log_that_makes_no_sense_is_refused(
    admin: Caller, query: str
) -> None:
    assert admin.get(f"audit/?{query}").status_code == 400


@pytest.mark.parametrize(
    ("trusted", "forwarded", "seen"),
    [
        ("", "198.51.100.7", "127.0.0.1"),
        ("10.0.0.0/8, ::1", "198.51.100.7", "127.0.0.1"),
        ("127.0.0.0/8", "198.51.100.7", "198.51.100.7"),
        ("127.0.0.0/8", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("127.0.0.0/8", "<script>" * 20, ""),
    ],
)
def test_only_our_own_proxies_say_where_a_request_came_from(
    bench: Bench, alice: Caller, trusted: str, forwarded: str, seen: str
) -> None:
    settings = Settings(_env_file=None, secret_key="x" * 16, skyrelay_trusted_proxies=trusted)
    object.__setattr__(bench.gateway, "settings", settings)
    caller = Caller(create_app(bench.gateway).test_client(), alice.token)
    answer = caller.post("tokens/", json={"name": "x"}, headers={"X-Forwarded-For": forwarded})
    assert answer.status_code == 201
    with bench.gateway.database.reading() as session:
        assert session.query(AuditEntry).filter_by(action="token_create").one().ip == seen
