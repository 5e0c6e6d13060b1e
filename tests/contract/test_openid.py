"""Who is let in that a provider of OpenID Connect vouches for?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from joserfc.jwk import RSAKey
from werkzeug.test import TestResponse

from gateway.app import create_app
from gateway.core import Gateway
from skyrelay.settings import Settings
from tests.support.gateway import Bench, Caller
from tests.support.openid_provider import CLIENT_ID, CLIENT_SECRET, Provider, provider


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Any, sqlite_template: Any) -> str:
    """What is tried here is the protocol; the tables are those of test_accounts.py."""
    (tmp_path / "gateway.db").write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{tmp_path / 'gateway.db'}"


@pytest.fixture(name="idp")
def a_provider() -> Iterator[Provider]:
    with provider() as made:
        yield made


def browser(gateway: Gateway, idp: Provider, **settings: Any) -> FlaskClient:
    """A browser in front of a gateway that knows the provider."""
    known = {
        "skyrelay_oidc_issuer": idp.issuer,
        "skyrelay_oidc_client_id": CLIENT_ID,
        "skyrelay_oidc_client_secret": CLIENT_SECRET,
    }
    given = gateway.settings.model_dump() | known | settings
    object.__setattr__(gateway, "settings", Settings(_env_file=None, **given))
    return create_app(gateway).test_client()


def go(client: FlaskClient, next_page: str = "/tasks/") -> TestResponse:
    """Log in: from us to the provider and back."""
    there = client.get("/api/auth/openid/login/", query_string={"next": next_page})
    assert there.status_code == 302, there.json
    back = requests.get(there.headers["Location"], allow_redirects=False, timeout=30)
    return client.get(back.headers["Location"].removeprefix("http://localhost"))


def test_whom_the_provider_knows_is_logged_in_as_himself_each_time(
    bench: Bench, idp: Provider
) -> None:
    idp.claims = {"sub": "s-1", "preferred_username": "grace", "given_name": "Grace"}
    first = browser(bench.gateway, idp, skyrelay_oidc_create_users=True)
    answer = go(first)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/tasks/")
    account = first.get("/api/user/").json
    assert (account["username"], account["first_name"]) == ("grace", "Grace")
    assert account["is_staff"] is False
    idp.claims["preferred_username"] = "renamed"
    second = browser(bench.gateway, idp)
    go(second)
    assert second.get("/api/user/").json["id"] == account["id"]


def test_a_name_at_the_provider_is_not_taken_for_a_user_of_ours(
    bench: Bench, idp: Provider, admin: Caller, alice: Caller
) -> None:
    idp.claims = {"sub": "s-1", "preferred_username": "alice"}
    client = browser(bench.gateway, idp, skyrelay_oidc_create_users=True)
    refused = go(client)
    assert refused.status_code == 403
    openid = f"{idp.issuer} s-1"
    assert openid in refused.json["detail"]
    assert client.get("/api/user/").status_code == 401
    (user,) = admin.get("users/?query=alice").json
    assert admin("PATCH", f"users/{user['id']}/", json={"openid": openid}).status_code == 200
    assert go(client).status_code == 302
    assert client.get("/api/user/").json["username"] == "alice"


def test_nobody_is_made_a_user_unless_that_is_wanted(bench: Bench, idp: Provider) -> None:
    client = browser(bench.gateway, idp)
    assert go(client).status_code == 403
    assert client.get("/api/user/").status_code == 401


def test_members_of_a_group_at_the_provider_are_administrators(
    bench: Bench, idp: Provider, admin: Caller
) -> None:
    idp.claims = {"sub": "s-1", "preferred_username": "grace", "groups": ["dome", "staff"]}
    settings = {"skyrelay_oidc_create_users": True, "skyrelay_oidc_staff_group": "staff"}
    client = browser(bench.gateway, idp, **settings)
    go(client)
    assert client.get("/api/user/").json["is_staff"] is True
    idp.claims["groups"] = ["dome"]
    go(client)
    assert client.get("/api/user/").json["is_staff"] is False


@pytest.mark.parametrize(
    "forged",
    [
        {"iss": "https://evil.example"},
        {"aud": "another client"},
        {"nonce": "of another login"},
        {"exp": 1_000_000_000},
        {"sub": None},
    ],
)
def test_a_token_that_is_not_for_us_lets_nobody_in(
    bench: Bench, idp: Provider, forged: dict[str, Any]
) -> None:
    idp.forged = forged
    client = browser(bench.gateway, idp, skyrelay_oidc_create_users=True)
    assert go(client).status_code == 403
    assert client.get("/api/user/").status_code == 401


def test_a_token_signed_by_somebody_else_lets_nobody_in(bench: Bench, idp: Provider) -> None:
    idp.signing_key = RSAKey.generate_key(2048, {"kid": "1"})
    client = browser(bench.gateway, idp, skyrelay_oidc_create_users=True)
    assert go(client).status_code == 403


def test_a_login_that_somebody_else_began_is_not_finished(bench: Bench, idp: Provider) -> None:
    client = browser(bench.gateway, idp, skyrelay_oidc_create_users=True)
    other = client.application.test_client()
    there = other.get("/api/auth/openid/login/")
    back = requests.get(there.headers["Location"], allow_redirects=False, timeout=30)
    path = back.headers["Location"].removeprefix("http://localhost")
    assert client.get(path).status_code == 403
    assert client.get("/api/auth/openid/callback/?error=access_denied").status_code == 403
    assert client.get("/api/auth/openid/callback/").status_code == 403


@pytest.mark.parametrize(
    "page", ["https://evil.example/", "//evil.example", "/\\evil.example", "/a\r\nSet-Cookie: x"]
)
def test_a_login_ends_on_a_page_of_ours(bench: Bench, idp: Provider, page: str) -> None:
    client = browser(bench.gateway, idp, skyrelay_oidc_create_users=True)
    assert go(client, page).headers["Location"] == "/"


def test_a_provider_that_is_away_is_told_of(bench: Bench, idp: Provider) -> None:
    client = browser(bench.gateway, idp, skyrelay_oidc_issuer="http://127.0.0.1:9")
    assert client.get("/api/auth/openid/login/").status_code == 502


def test_without_a_provider_there_is_no_such_login(bench: Bench) -> None:
    assert bench.app.test_client().get("/api/auth/openid/login/").status_code == 404
