"""How do the broker's users come to be, each with its rights and no more?

Through the management of the broker, which an installation has anyway. A user's name and password
are those in the address with which its processes come: they stand in one place only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import requests

from skyrelay.broker import topology
from skyrelay.broker.rights import all_rights

#: Seconds to wait for the answer to one request.
PATIENCE = 10.0


class ManagementAway(Exception):
    """The management does not answer, or cannot do it now; it may later."""


class ManagementRefuses(Exception):
    """The management does not do it, and will not: says why."""


@dataclass(frozen=True)
class Account:
    """By what a user is known to the broker, and where."""

    name: str
    password: str
    vhost: str


def account_in(address: str) -> Account:
    """The account in an address such as AMQP_URI; with several of them, in the first.

    Raises
    ------
    ValueError
        It names no user, or no password.
    """
    parts = urlsplit(address.partition(";")[0].strip())
    if not parts.username or not parts.password:
        raise ValueError(f"there is no user with a password in {parts.scheme}://{parts.hostname}")
    vhost = unquote(parts.path.removeprefix("/")) or "/"
    return Account(unquote(parts.username), unquote(parts.password), vhost)


def make_users(
    management: str,
    administrator: tuple[str, str],
    addresses: Mapping[str, str],
    authority: str | None = None,
) -> Iterator[str]:
    """Make users, or set them right; the name of each when it is done.

    Parameters
    ----------
    management : str
        Address of the broker's management, say http://broker:15672.
    administrator : tuple of str
        Name and password of one who may make users there.
    addresses : mapping of str to str
        For each role of `skyrelay.broker.rights`, the address with which its processes come. A role
        without one is left alone.
    authority : str, optional
        File with the authority of the management's certificate (default: the system's own).

    Raises
    ------
    ManagementAway, ManagementRefuses
        What was done until then stays, and may be done again.
    ValueError
        An address names no user; nothing was done.
    """
    roles = [rights for rights in all_rights() if addresses.get(rights.user)]
    accounts = [account_in(addresses[rights.user]) for rights in roles]
    with requests.Session() as session:
        session.auth = administrator
        session.verify = authority or True
        for rights, account in zip(roles, accounts, strict=True):
            name, where = quote(account.name, safe=""), quote(account.vhost, safe="")
            permissions = {key: getattr(rights, key) for key in ("configure", "write", "read")}
            topic = {
                "exchange": topology.EVENTS.name,
                "write": rights.publishes,
                "read": rights.hears,
            }
            user = {"password": account.password, "tags": ",".join(rights.tags)}
            for what, content in (
                (f"users/{name}", user),
                (f"permissions/{where}/{name}", permissions),
                (f"topic-permissions/{where}/{name}", topic),
            ):
                _put(session, f"{management.rstrip('/')}/api/{what}", content)
            yield account.name


def _put(session: requests.Session, address: str, content: dict[str, Any]) -> None:
    try:
        answer = session.put(address, json=content, timeout=PATIENCE)
    except requests.RequestException as error:
        raise ManagementAway(str(error)) from error
    if answer.status_code >= 500:
        raise ManagementAway(f"{address} answers {answer.status_code}")
    if not answer.ok:
        raise ManagementRefuses(f"{address} answers {answer.status_code}: {answer.text.strip()}")
