"""What do answers about users, groups, tokens and the audit log look like, and what is sent?"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from gateway.api.schemas import Groups, Later, Moment, Username, exact

Id = Annotated[int, Field(examples=[7])]
Text = Annotated[str, Field(examples=["Alice"])]
Email = Annotated[str, Field(examples=["alice@example.org"])]
Password = Annotated[str, Field(examples=["correct horse battery staple"])]
Flag = Annotated[bool, Field(examples=[True])]
Quota = Annotated[
    int | None, Field(description="null: as the settings say; 0: no limit.", examples=[1000])
]
OpenId = Annotated[
    str | None,
    Field(
        description="Issuer and subject at the OpenID provider.",
        examples=["https://login.example.org 1234"],
    ),
]
Permission = Literal["view_all_tasks", "edit_all_tasks", "skyportal_upload"]
Permissions = Annotated[list[Permission], Field(examples=[["view_all_tasks"]])]
Members = Annotated[list[str], Field(description="User names.", examples=[["alice", "bob"]])]
GroupName = Annotated[str, Field(examples=["observers"])]
TokenName = Annotated[str, Field(examples=["telescope"])]
Key = Annotated[str, Field(examples=["9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b"])]
Count = Annotated[int, Field(examples=[12])]


@exact
class Amounts(TypedDict):
    """An amount of each thing for which there are quotas."""

    tasks: Count
    bytes: Count
    runs: Count


class _Person(TypedDict):
    id: Id
    username: Username
    first_name: Text
    last_name: Text
    email: Email
    is_staff: Flag
    permissions: Permissions
    created: Moment


@exact
class User(_Person):
    """A user's own account."""


@exact
class Account(_Person):
    """A user with usage and quotas (0: no limit)."""

    groups: Groups
    quota: Amounts
    used: Amounts


@exact
class UserForStaff(_Person):
    """A user, as an administrator sees and changes the account."""

    is_active: Flag
    has_password: Flag
    openid: OpenId
    groups: Groups
    view_all_tasks: Flag
    edit_all_tasks: Flag
    skyportal_upload: Flag
    quota_tasks: Quota
    quota_bytes: Quota
    quota_runs: Quota


class UserChange(TypedDict, total=False):
    """What an administrator may set of a user."""

    username: Username
    password: Password
    first_name: Text
    last_name: Text
    email: Email
    is_active: Flag
    is_staff: Flag
    view_all_tasks: Flag
    edit_all_tasks: Flag
    skyportal_upload: Flag
    openid: OpenId
    groups: Groups
    quota_tasks: Quota
    quota_bytes: Quota
    quota_runs: Quota


class AccountChange(TypedDict, total=False):
    """What users may set in their own account."""

    first_name: Text
    last_name: Text
    email: Email


@exact
class Token(TypedDict):
    """A token; its key is told once, when it is made."""

    id: Id
    name: TokenName
    created: Moment
    expires: Later
    last_used: Annotated[Later, Field(description="To the hour.")]
    token: NotRequired[Key]


class NewToken(TypedDict):
    """What a token is made of."""

    name: TokenName
    expires: NotRequired[Annotated[str, Field(examples=["2030-01-31T12:00:00Z"])]]


@exact
class GroupInList(TypedDict):
    """A group in a list."""

    id: Id
    name: GroupName
    members: Count


@exact
class Group(TypedDict):
    """A group with its members."""

    id: Id
    name: GroupName
    members: Members


class NewGroup(TypedDict):
    """What a group is made of."""

    name: GroupName
    members: NotRequired[Members]


class GroupChange(TypedDict):
    """What may be changed of a group itself."""

    name: GroupName


class MemberChange(TypedDict, total=False):
    """Who is to come into a group, and who out of it."""

    add: Members
    remove: Members


@exact
class AuditEntry(TypedDict):
    """A change that was made."""

    id: Id
    timestamp: Moment
    user: Annotated[str, Field(description="Empty: the system.", examples=["alice"])]
    action: Annotated[str, Field(examples=["task_create"])]
    task: Annotated[int | None, Field(examples=[42])]
    ip: Annotated[str, Field(examples=["192.0.2.7"])]
    details: Annotated[dict[str, Any], Field(examples=[{"source": "upload"}])]


@exact
class AuditPage(TypedDict):
    """Changes, newest first."""

    results: list[AuditEntry]
    next: Annotated[int | None, Field(description="`before` of the next page.", examples=[100])]


class AuditQuery(TypedDict, total=False):
    """Which changes are shown."""

    user: Annotated[str, Field(description="By this user.", examples=["alice"])]
    action: Annotated[str, Field(description="Of this kind.", examples=["task_delete"])]
    task: Annotated[int, Field(description="Of this task.", examples=[42])]
    since: Annotated[str, Field(description="From this moment on.", examples=["2026-03-01"])]
    until: Annotated[str, Field(description="Before this moment.", examples=["2026-03-02"])]
    limit: Annotated[int, Field(description="At most 1000.", examples=[100])]
    before: Annotated[int, Field(description="Only entries of lower ids.", examples=[100000])]


class Credentials(TypedDict):
    """What a user knows."""

    username: Username
    password: Password


class Logout(TypedDict, total=False):
    """Which sessions end."""

    everywhere: Annotated[bool, Field(examples=[False])]


class PasswordChange(TypedDict):
    """The present and the future password."""

    old_password: Password
    new_password: Annotated[str, Field(examples=["a better one, and longer"])]


@exact
class TokenKey(TypedDict):
    """The key of a token."""

    token: Key


@exact
class LoggedIn(TypedDict):
    """Who is logged in now."""

    user: User
