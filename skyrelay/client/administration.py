"""How does a program do what only administrators may?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from skyrelay.client.answers import AuditEntry, DeadLetter, Group, Started, User
from skyrelay.client.transport import Transport


class AdministrationCalls(Transport):
    """Users, groups, the audit log, and messages on which nobody could work."""

    def users(self, query: str = "") -> list[User]:
        """All users, or those with these words in their names."""
        found = self._json("GET", "users/", params={"query": query} if query else {})
        return [User.model_validate(each) for each in found]

    def user(self, number: int) -> User:
        """One user."""
        return User.model_validate(self._json("GET", f"users/{number}/"))

    def make_user(self, username: str, password: str | None = None, **fields: Any) -> User:
        """A new user; fields are those of ``POST /api/users/``."""
        body = {"username": username, **fields}
        if password is not None:
            body["password"] = password
        return User.model_validate(self._json("POST", "users/", json=body))

    def update_user(self, number: int, **fields: Any) -> User:
        """Change a user: permissions, quotas, groups, password, is_active, ..."""
        return User.model_validate(self._json("PATCH", f"users/{number}/", json=fields))

    def delete_user(self, number: int) -> None:
        """Delete a user who has no tasks."""
        self._request("DELETE", f"users/{number}/")

    def groups(self) -> list[Group]:
        """All groups, or those that we are in."""
        return [Group.model_validate(each) for each in self._json("GET", "groups/")]

    def group(self, number: int) -> Group:
        """One group with its members."""
        return Group.model_validate(self._json("GET", f"groups/{number}/"))

    def make_group(self, name: str, members: Sequence[str] = ()) -> Group:
        """A new group of these users."""
        body = {"name": name, "members": list(members)}
        return Group.model_validate(self._json("POST", "groups/", json=body))

    def rename_group(self, number: int, name: str) -> Group:
        """Call a group something else."""
        return Group.model_validate(self._json("PATCH", f"groups/{number}/", json={"name": name}))

    def change_members(
        self, number: int, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> Group:
        """Add users to a group, and remove others."""
        body = {"add": list(add), "remove": list(remove)}
        return Group.model_validate(self._json("POST", f"groups/{number}/members/", json=body))

    def delete_group(self, number: int) -> None:
        """Delete a group; what was shared with it is not any more."""
        self._request("DELETE", f"groups/{number}/")

    def audit(self, **filters: Any) -> Iterator[AuditEntry]:
        """The audit log, newest first, fetched page by page: user, action, task, since, until."""
        before: int | None = None
        while True:
            page = filters if before is None else {**filters, "before": before}
            answer = self._json("GET", "audit/", params=page)
            for each in answer["results"]:
                yield AuditEntry.model_validate(each)
            before = answer["next"]
            if before is None:
                return

    def disk(self) -> dict[str, dict[str, int]]:
        """Free bytes, and all, where the tasks and the data folder are."""
        return dict(self._json("GET", "disk/"))

    def dead_letters(self, *, handled: bool = False) -> list[DeadLetter]:
        """Messages on which nobody could work; with ``handled`` those that were dealt with, too."""
        found = self._json("GET", "dead/", params={"all": "1"} if handled else {})
        return [DeadLetter.model_validate(each) for each in found]

    def dead_letter(self, number: int) -> DeadLetter:
        """One of them."""
        return DeadLetter.model_validate(self._json("GET", f"dead/{number}/"))

    def replay(self, number: int) -> Started:
        """Do the steps that were left because of a dead letter, in a run of their own."""
        answer = self._json("POST", f"dead/{number}/replay/")
        return Started.model_validate({**answer, "id": answer["task"], "state": "running"})

    def drop_letter(self, number: int) -> None:
        """Let a dead letter rest."""
        self._request("DELETE", f"dead/{number}/")
