"""Which tasks does somebody look for?

The statements are made once for each form that a search may have, for to put one together takes
longer than the database takes to answer it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Select,
    and_,
    bindparam,
    column,
    literal_column,
    or_,
    select,
    table,
    union_all,
)
from sqlalchemy.orm import Session

from gateway.models import Group, Task, User, task_groups
from gateway.permissions import own_or_shared

#: Forms whose statements are kept. Hardly anybody looks for more than a few words.
_FORMS = 256
#: Whose names a word is in.
_OWNER, _GROUP = 0, 1

#: SQLite's index of what tasks are called, which knows the places of three letters each.
_WORDS = table("task_words", column("rowid"))
_MATCHES = literal_column("task_words").op("MATCH", is_comparison=True)
_SHORTEST_INDEXED = 3


@dataclass(frozen=True)
class Search:
    """What is looked for, and by whom.

    ``viewer``: number of the user who asks, None if that user sees all tasks. Each of the
    ``words`` is somewhere in what a person calls the task, its owner or its groups; ``state`` and
    the user name of the ``owner`` are exact, and count unless they are empty.
    """

    viewer: int | None
    words: tuple[str, ...] = ()
    state: str = ""
    owner: str = ""


@dataclass(frozen=True)
class Chosen:
    """The numbers of the tasks that are looked for: a statement, and the values that it needs."""

    statement: Select[int]
    values: dict[str, Any]

    @property
    def condition(self) -> ColumnElement[bool]:
        """The condition on tasks that they are among these."""
        return Task.id.in_(self.statement.params(self.values))


@dataclass(frozen=True)
class _Word:
    """Whether a word names owners, whether it names groups, and is in the index of SQLite."""

    names_owners: bool
    names_groups: bool
    is_indexed: bool


@dataclass(frozen=True)
class _Form:
    sees_all: bool
    words: tuple[_Word, ...]
    state: bool
    owner: bool
    among: bool


def chosen(session: Session, search: Search, among: Sequence[int] | None = None) -> Chosen:
    """The tasks that are looked for; only those among certain ones if some are given.

    Owners and groups are looked up first: only without them can the indexes of the words be used.
    """
    values: dict[str, Any] = {"viewer": search.viewer, "state": search.state, "owner": search.owner}
    patterns = {f"word{place}": _pattern(word) for place, word in enumerate(search.words)}
    phrases = {f"phrase{place}": _phrase(word) for place, word in enumerate(search.words)}
    named = _named(session, patterns) if patterns else []
    for place, (owners, groups) in enumerate(named):
        values |= {f"owners{place}": owners, f"groups{place}": groups}
    on_sqlite = session.get_bind().dialect.name == "sqlite"
    form = _Form(
        sees_all=search.viewer is None,
        words=tuple(
            _Word(bool(owners), bool(groups), on_sqlite and len(word) >= _SHORTEST_INDEXED)
            for word, (owners, groups) in zip(search.words, named, strict=True)
        ),
        state=bool(search.state),
        owner=bool(search.owner),
        among=among is not None,
    )
    return Chosen(_statement(form), {**values, **patterns, **phrases, "among": among})


def newest_first(session: Session, search: Search, among: Sequence[int] | None) -> Sequence[int]:
    """The numbers of the tasks that are looked for, all of them or those among certain ones."""
    found = chosen(session, search, among)
    return session.scalars(found.statement.order_by(Task.id.desc()), found.values).all()


@lru_cache(_FORMS)
def _statement(form: _Form) -> Select[int]:
    chosen = select(Task.id).where(*(_has(place, word) for place, word in enumerate(form.words)))
    if not form.sees_all:
        chosen = chosen.where(own_or_shared(bindparam("viewer")))
    if form.state:
        chosen = chosen.where(Task.state == bindparam("state"))
    if form.owner:
        owner = select(User.id).where(User.username == bindparam("owner")).scalar_subquery()
        chosen = chosen.where(Task.user_id == owner)
    if form.among:
        chosen = chosen.where(Task.id.in_(bindparam("among", expanding=True)))
    return chosen


def _has(place: int, word: _Word) -> ColumnElement[bool]:
    """The word at this place is in what a person calls the task, or names its owner or a group.

    No more ways are in the statement than there are: none but these can be found by an index.
    """
    named = [_contains(Task.original_name, place), _contains(Task.title, place)]
    if word.is_indexed:
        # What the index takes for the same letter, the database may not.
        indexed = select(_WORDS.c.rowid).where(_MATCHES(bindparam(f"phrase{place}")))
        ways = [and_(Task.id.in_(indexed), or_(*named))]
    else:
        ways = named
    if word.names_owners:
        ways.append(Task.user_id.in_(bindparam(f"owners{place}", expanding=True)))
    if word.names_groups:
        groups: BindParameter[int] = bindparam(f"groups{place}", expanding=True)
        shared = select(task_groups.c.task_id).where(task_groups.c.group_id.in_(groups))
        ways.append(Task.id.in_(shared))
    return or_(*ways)


def _named(session: Session, patterns: dict[str, str]) -> list[tuple[list[int], list[int]]]:
    """For each word, the numbers of the owners and of the groups in whose names it is."""
    found = session.execute(_names(len(patterns)), patterns).all()
    return [
        (
            [row[1] for row in found if row[0] == _OWNER and row[2 + place]],
            [row[1] for row in found if row[0] == _GROUP and row[2 + place]],
        )
        for place in range(len(patterns))
    ]


@lru_cache(_FORMS)
def _names(words: int) -> CompoundSelect[Any]:
    """Which of so many words are in the names of which owners and groups."""
    owners = _named_by(_OWNER, User.id, (User.username, User.first_name, User.last_name), words)
    return union_all(owners, _named_by(_GROUP, Group.id, (Group.name,), words))


def _named_by(kind: int, number: Any, names: Sequence[Any], words: int) -> Select[Any]:
    matches = [or_(*(_contains(name, place) for name in names)) for place in range(words)]
    found: Select[Any] = select(literal_column(str(kind)), number, *matches)
    return found.where(or_(*matches))


def _contains(column: Any, place: int) -> ColumnElement[bool]:
    contains: ColumnElement[bool] = column.ilike(bindparam(f"word{place}"), escape="/")
    return contains


def _phrase(word: str) -> str:
    """The word as SQLite's index is asked for it."""
    return '"' + word.replace('"', '""') + '"'


def _pattern(word: str) -> str:
    return f"%{word.replace('/', '//').replace('%', '/%').replace('_', '/_')}%"
