"""Who are the users?"""

from __future__ import annotations

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from gateway.accounts import passwords
from gateway.models import Group, User
from skyrelay.errors import Permanent
from skyrelay.settings import Settings

#: What may be granted to users beyond their own tasks and those of their groups.
PERMISSIONS = ("view_all_tasks", "edit_all_tasks", "skyportal_upload")
_LONGEST_NAME = 150


def create_user(session: Session, name: str, password: str, *, staff: bool = False) -> User:
    """A new user. With an empty password only tokens open the door.

    Raises
    ------
    Permanent
        If the name is taken or unusable, or the password is.
    """
    check_name(name)
    if find_user(session, name) is not None:
        raise Permanent(f"There is a user {name} already.")
    if password:
        passwords.check(password, name)
    user = User(username=name, password_hash=passwords.hash_of(password), is_staff=staff)
    session.add(user)
    session.flush()
    return user


def check_name(name: str) -> None:
    """Refuse what is no name for a user or a group.

    Raises
    ------
    Permanent
        If it is none.
    """
    if not name or len(name) > _LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise Permanent(f"{name!r} is no name: take up to 150 printable characters.")


def find_user(session: Session, name: str) -> User | None:
    """The user of this name."""
    return session.scalar(select(User).where(User.username == name))


def find_group(session: Session, name: str) -> Group | None:
    """The group of this name."""
    return session.scalar(select(Group).where(Group.name == name))


def authenticate(session: Session, name: str, password: str) -> User | None:
    """The active user of this name and password."""
    user = find_user(session, name)
    right = passwords.matches(user.password_hash if user else "", password)
    return user if user and right and user.is_active else None


def first_administrator(session: Session, settings: Settings) -> User | None:
    """Make the administrator that the settings name, unless there is somebody of that name.

    Raises
    ------
    Permanent
        If the settings name one without a usable password.
    """
    name = settings.skyrelay_admin_name
    if not name or find_user(session, name) is not None:
        return None
    password = settings.skyrelay_admin_password.get_secret_value()
    if not password:
        raise Permanent("SKYRELAY_ADMIN_NAME is set without SKYRELAY_ADMIN_PASSWORD.")
    return create_user(session, name, password, staff=True)


def is_last_administrator(session: Session, user: User) -> bool:
    """Whether nobody could administer this installation without this user."""
    if not (user.is_staff and user.is_active):
        return False
    others = exists().where(User.is_staff, User.is_active, User.id != user.id)
    return not session.scalar(select(others))
