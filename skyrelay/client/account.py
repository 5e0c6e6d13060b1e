"""How does a program look after its own user?"""

from __future__ import annotations

from typing import Any

from skyrelay.client.answers import Token, User
from skyrelay.client.transport import Transport


class AccountCalls(Transport):
    """The user whose token we have."""

    def account(self) -> User:
        """Who we are, with groups, permissions, quota and what is used of it."""
        return User.model_validate(self._json("GET", "user/"))

    def update_account(self, **fields: Any) -> User:
        """Change first_name, last_name or email."""
        return User.model_validate(self._json("PATCH", "user/", json=fields))

    def change_password(self, old: str, new: str) -> None:
        """Change our password."""
        body = {"old_password": old, "new_password": new}
        self._request("POST", "auth/password/", json=body)

    def tokens(self, user: str | None = None) -> list[Token]:
        """Our tokens, or as an administrator those of another user; without their keys."""
        query = {} if user is None else {"user": user}
        return [Token.model_validate(each) for each in self._json("GET", "tokens/", params=query)]

    def make_token(self, name: str, expires: str | None = None) -> Token:
        """A new token with its key, which is never shown again; ``expires``: ISO 8601."""
        body = {"name": name} | ({} if expires is None else {"expires": expires})
        return Token.model_validate(self._json("POST", "tokens/", json=body))

    def revoke_token(self, number: int) -> None:
        """Make a token void, from now on."""
        self._request("DELETE", f"tokens/{number}/")
