"""How does a browser log in with an OpenID Connect provider?

The authorization code flow with PKCE, state and nonce, as Authlib does it.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any

import requests
from flask import Blueprint, Flask, current_app, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway.accounts import openid
from gateway.api.auth import open_to_all
from gateway.api.errors import detail, not_found
from gateway.api.login import begin_session
from gateway.current import gateway
from gateway.openapi import Answer, documented
from skyrelay.errors import Permanent
from skyrelay.settings import Settings

_log = logging.getLogger(__name__)

blueprint = Blueprint("openid", __name__, url_prefix="/auth/openid")

#: Name under which the application keeps its client of the provider.
_CLIENT = "skyrelay_openid"
#: Where the browser goes after the login, in the cookie of the way there.
_NEXT = "next"
#: Seconds for each answer of the provider.
_PATIENCE = 10


class _Where(TypedDict, total=False):
    next: Annotated[str, Field(description="Path of a page of ours.", examples=["/tasks/"])]


class _Back(TypedDict, total=False):
    code: Annotated[str, Field(description="For a token.", examples=["SplxlOBeZQQYbYS6WxSbIA"])]
    state: Annotated[str, Field(description="Names the login.", examples=["af0ifjsldkj"])]
    error: Annotated[str, Field(description="Why nobody was let in.", examples=["access_denied"])]


def install(app: Flask, settings: Settings) -> None:
    """Give the application its client of the provider, if the settings name one.

    Raises
    ------
    Permanent
        If they name it in part.
    """
    issuer = settings.skyrelay_oidc_issuer.rstrip("/")
    if not issuer:
        return
    if not settings.skyrelay_oidc_client_id:
        raise Permanent("SKYRELAY_OIDC_ISSUER is set without SKYRELAY_OIDC_CLIENT_ID.")
    # It takes 16 MB of each process, and few installations need it.
    from authlib.integrations.flask_client import OAuth

    app.extensions[_CLIENT] = OAuth(app).register(
        "openid",
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_id=settings.skyrelay_oidc_client_id,
        client_secret=settings.skyrelay_oidc_client_secret.get_secret_value(),
        client_kwargs={
            "scope": "openid profile email",
            "code_challenge_method": "S256",
            "default_timeout": _PATIENCE,
        },
    )


@blueprint.get("/login/")
@open_to_all
@documented(
    {302: Answer(description="To the provider.", media_types=())},
    query=_Where,
    errors=(403, 404, 502),
)
def go_to_provider() -> ResponseReturnValue:
    """Send the browser to the provider; ``next`` is the page of ours to go to afterwards."""
    client = _client()
    session[_NEXT] = _own_page(request.args.get(_NEXT, "/"))
    try:
        answer: ResponseReturnValue = client.authorize_redirect(
            url_for("api.openid.come_back", _external=True)
        )
    except _failures() as error:
        raise _refused(error) from error
    return answer


@blueprint.get("/callback/")
@open_to_all
@documented(
    {302: Answer(description="To the page.", media_types=())}, query=_Back, errors=(403, 404, 502)
)
def come_back() -> ResponseReturnValue:
    """Log in whom the provider sends back, if what it says of them is signed and meant for us."""
    try:
        claims = _client().authorize_access_token()["userinfo"]
    except _failures() as error:
        raise _refused(error) from error
    response = redirect(_own_page(session.pop(_NEXT, "/")))
    with gateway().database.writing() as transaction:
        try:
            user = openid.user_of(transaction, claims, gateway().settings)
        except Permanent as error:
            raise detail(403, str(error)) from error
        begin_session(transaction, user, response)
    return response


def _failures() -> tuple[type[Exception], ...]:
    """What the provider, the way there, or a forged answer may bring about."""
    from authlib.common.errors import AuthlibBaseError
    from joserfc.errors import JoseError

    return (AuthlibBaseError, JoseError, requests.RequestException, KeyError, ValueError)


def _refused(error: Exception) -> Exception:
    _log.warning("login with OpenID failed: %r", error)
    if isinstance(error, requests.RequestException):
        return detail(502, "The OpenID provider does not answer; try again in a moment.")
    return detail(403, "The OpenID provider did not let you in, or its answer was not for us.")


def _client() -> Any:
    client = current_app.extensions.get(_CLIENT)
    if client is None:
        raise not_found()
    return client


def _own_page(path: str) -> str:
    """The path if it leads to a page of ours, else the first one."""
    plain = path.isprintable() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") else "/"
