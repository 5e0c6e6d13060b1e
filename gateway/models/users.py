"""Who may use the gateway, in which groups, and with which tokens?"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Column, ForeignKey, String, Table, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from gateway.models.base import Base, UtcDateTime, now

user_groups = Table(
    "user_groups",
    Base.metadata,
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True, index=True),
)


class Group(Base):
    """Users who share tasks with each other."""

    __tablename__ = "groups"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(150), unique=True)


class User(Base):
    """A person, or a program that acts for one.

    ``openid`` is the issuer and subject under which an OpenID provider knows the user. A quota is
    None for what the settings say, 0 for no limit.
    """

    __tablename__ = "users"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(String(150), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255), default="")
    first_name: Mapped[str] = mapped_column(String(150), default="")
    last_name: Mapped[str] = mapped_column(String(150), default="")
    email: Mapped[str] = mapped_column(String(254), default="")
    openid: Mapped[str | None] = mapped_column(String(500), unique=True, index=True)
    is_active: Mapped[bool] = mapped_column(default=True)
    is_staff: Mapped[bool] = mapped_column(default=False)
    view_all_tasks: Mapped[bool] = mapped_column(default=False)
    edit_all_tasks: Mapped[bool] = mapped_column(default=False)
    skyportal_upload: Mapped[bool] = mapped_column(default=False)
    quota_tasks: Mapped[int | None]
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    quota_runs: Mapped[int | None]
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)

    groups: Mapped[list[Group]] = relationship(secondary=user_groups, order_by=Group.name)


class ApiToken(Base):
    """A key of the API. Only its hash is here.

    With a nonce the key is made of that and the secret key, so that it can be told again; without,
    it was random, and told once.
    """

    __tablename__ = "api_tokens"
    __table_args__ = (UniqueConstraint("user_id", "name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    nonce: Mapped[str] = mapped_column(String(64), default="")
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    expires: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used: Mapped[datetime | None] = mapped_column(UtcDateTime)

    user: Mapped[User] = relationship()


class BrowserSession(Base):
    """Somebody is logged in with a browser, whose cookie has the key to this hash."""

    __tablename__ = "browser_sessions"

    key_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    created: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    expires: Mapped[datetime] = mapped_column(UtcDateTime)


class LoginAttempts(Base):
    """How often somebody has tried to log in of late; ``who`` is a digest of name and address."""

    __tablename__ = "login_attempts"

    who: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int]
    until: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
