"""Do lists stay right, and cheap for the database, however many tasks there are?"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, select

from gateway import listings
from gateway.followups.indexing import index
from gateway.listings import forget_changes
from gateway.models import Group, ListChange, Task, User, now
from gateway.permissions import sees_all
from gateway.search import Search, newest_first
from tests.support.gateway import Bench, Caller
from tests.support.measured import Field, measured_task
from tests.support.plans import plans

_SEEN = Field(objects=[(10.0, 20.0, 17.0)], targets=[(10.0, 20.0, 17.0)])


@contextmanager
def _statements() -> Iterator[list[str]]:
    """The statements that are sent to the database meanwhile."""
    sent: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def _counts(bench: Bench, caller: Caller, task: int, paths: list[str]) -> dict[str, int]:
    """How many statements each answer takes after a change, so that all lists are read again."""
    with bench.gateway.database.writing() as session:
        session.get_one(Task, task).title = f"changed at {now()}"
    counts = {}
    for path in paths:
        with _statements() as sent:
            answer = caller.get(path)
        assert answer.status_code == 200, answer.json
        counts[path] = len(sent)
    return counts


def test_no_number_of_statements_grows_with_the_number_of_tasks(
    bench: Bench, alice: Caller, bob: Caller
) -> None:
    task = measured_task(bench, alice, _SEEN)
    paths = [
        "tasks/",
        "tasks/?limit=50",
        "tasks/?limit=50&state=photometry_done",
        "tasks/?query=image+alice&limit=50",
        f"tasks/{task}/",
        f"tasks/{task}/state/",
        f"tasks/{task}/results/",
        "results/",
        "lightcurve/?ra=10&dec=20",
        "coverage/?ra=10&dec=20",
        "queue/",
    ]
    index(bench.gateway)
    _counts(bench, alice, task, paths)
    few = _counts(bench, alice, task, paths)
    for _ in range(6):
        measured_task(bench, alice, _SEEN)
        bob.new_task("image of bob", groups=["observers"])
    index(bench.gateway)
    assert alice.get("tasks/?limit=50").json["count"] == 13
    assert len(alice.get("lightcurve/?ra=10&dec=20").json["results"]) == 14
    assert _counts(bench, alice, task, paths) == few
    assert max(few.values()) < 12


def _numbers(caller: Caller, query: str = "") -> list[int]:
    """The tasks of a list, which comes in pages of two."""
    path, found = f"tasks/?limit=2&{query}", []
    while path:
        answer = caller.get(path).json
        found += [task["id"] for task in answer["results"]]
        assert answer["count"] >= len(found)
        path = (answer["next"] or "").partition("/api/")[2]
    assert answer["count"] == len(found)
    return found


def _share(session: Any, task: int) -> None:
    (group,) = session.query(Group).filter_by(name="observers")
    session.get_one(Task, task).groups = [group]


def _leave(session: Any, _: int) -> None:
    session.query(User).filter_by(username="bob").one().groups = []


def _rename_user(session: Any, _: int) -> None:
    session.query(User).filter_by(username="alice").one().last_name = "Unique"


def _rename_group(session: Any, _: int) -> None:
    session.query(Group).filter_by(name="observers").one().name = "unique"


def _rename_task(session: Any, task: int) -> None:
    session.get_one(Task, task).title = "a UNIQUE name"


def _delete(session: Any, task: int) -> None:
    session.delete(session.get_one(Task, task))


@pytest.mark.parametrize(
    ("change", "query"),
    [
        (_share, ""),
        (_leave, ""),
        (_delete, ""),
        (_rename_user, "query=unique"),
        (_rename_group, "query=unique"),
        (_rename_task, "query=unique"),
    ],
)
def test_a_list_that_is_kept_is_forgotten_when_anybody_changes_it(
    bench: Bench, alice: Caller, bob: Caller, change: Callable[[Any, int], None], query: str
) -> None:
    """Also another process, which knows nothing of what is kept in this one."""
    private = alice.new_task("private")
    shared = [alice.new_task(f"shared {number}", groups=["observers"]) for number in range(3)]
    before = _numbers(bob, query)
    assert before == ([] if query else shared[::-1])
    with bench.gateway.database.writing() as session:
        change(session, private if change is _share else shared[0])
        session.flush()
        assert _numbers(bob, query) == before
    expected = {
        _share: [*shared[::-1], private],
        _leave: [],
        _delete: shared[:0:-1],
        _rename_task: shared[:1],
    }.get(change, shared[::-1])
    assert _numbers(bob, query) == expected
    assert _numbers(bob, query) == expected


def test_a_list_that_did_not_change_is_not_read_again(bench: Bench, alice: Caller) -> None:
    for number in range(3):
        alice.new_task(f"m{number}")
    assert len(_numbers(alice)) == 3
    with _statements() as sent:
        assert len(_numbers(alice)) == 3
    assert not [each for each in sent if "exists" in each.lower() and "task_groups" in each]


def _change_something(bench: Bench, chance: random.Random, users: list[Caller]) -> None:
    """What a night does to lists, in any order; each of it committed."""
    with bench.gateway.database.reading() as session:
        tasks = list(session.scalars(select(Task.id)))
    kind = chance.choice(("new", "new", "share", "name", "state", "delete")) if tasks else "new"
    if kind == "new":
        groups = chance.choice((["observers"], []))
        chance.choice(users).new_task(f"m{chance.randrange(3)}", groups=groups)
        return
    with bench.gateway.database.writing() as session:
        task = session.get_one(Task, chance.choice(tasks))
        if kind == "name":
            task.title = f"m{chance.randrange(3)}"
        elif kind == "state":
            task.state = chance.choice(("running", "initial"))
        elif kind == "delete":
            session.delete(task)
        elif task.groups:
            task.groups = []
        else:
            _share(session, task.id)


def _afresh(bench: Bench, viewer: str, words: tuple[str, ...], state: str = "") -> list[int]:
    """The tasks of a list by a gateway that keeps nothing."""
    with bench.gateway.database.reading() as session:
        user = session.scalars(select(User).where(User.username == viewer)).one()
        asked = Search(None if sees_all(user) else user.id, words, state)
        return list(newest_first(session, asked, None))


def test_lists_follow_a_stream_of_changes(
    bench: Bench, alice: Caller, bob: Caller, admin: Caller
) -> None:
    chance = random.Random(8)
    for _ in range(60):
        _change_something(bench, chance, [alice, bob])
        for name, caller in (("alice", alice), ("bob", bob), ("admin", admin)):
            for words, state in (((), ""), (("m1",), ""), (("m2", "ali"), ""), ((), "running")):
                query = f"query={'+'.join(words)}&state={state}"
                assert _numbers(caller, query) == _afresh(bench, name, words, state), (name, query)


def test_after_a_change_no_list_is_read_from_its_beginning(bench: Bench, alice: Caller) -> None:
    first = alice.new_task("m1")
    for query in ("", "query=m1"):
        assert _numbers(alice, query) == [first]
    second = alice.new_task("m1")
    for query in ("", "query=m1"):
        with _statements() as sent:
            assert _numbers(alice, query) == [second, first]
        looked = [each for each in sent if each.startswith("SELECT tasks.id \nFROM")]
        assert len(looked) == 1 and "tasks.id IN" in looked[0]


def test_a_change_of_state_concerns_lists_of_one_state_alone(bench: Bench, alice: Caller) -> None:
    task = alice.new_task("m1")
    found = {"": [task], "state=initial": [task], "state=running": []}
    for query, numbers in found.items():
        assert _numbers(alice, query) == numbers
    with bench.gateway.database.writing() as session:
        session.get_one(Task, task).state = "running"
    found |= {"state=initial": [], "state=running": [task]}
    for query, numbers in found.items():
        with _statements() as sent:
            assert _numbers(alice, query) == numbers
        looked = [each for each in sent if each.startswith("SELECT tasks.id \nFROM")]
        assert [("tasks.id IN" in each) for each in looked] == ([True] if query else [])


def test_after_very_many_changes_a_list_is_read_again(
    bench: Bench, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "_MOST_CHANGES", 2)
    for number in range(12):
        for _ in range(number % 4):
            alice.new_task("m1")
        assert _numbers(alice, "query=m1") == _afresh(bench, "alice", ("m1",))


def test_every_kept_list_is_of_its_user_and_words(
    alice: Caller, bob: Caller, admin: Caller
) -> None:
    own = alice.new_task("100% of_M51", title="a/b")
    other = bob.new_task("m51")
    assert (_numbers(alice), _numbers(bob), _numbers(admin)) == ([own], [other], [other, own])
    assert _numbers(admin, "user=alice") == [own]
    for word in ("100%25", "of_m", "A/B", "%25+_"):
        assert _numbers(admin, f"query={word}") == [own]


def test_what_is_looked_for_is_found_wherever_it_stands(
    bench: Bench, alice: Caller, admin: Caller
) -> None:
    """As letter for letter, whichever index there is; what is shorter than it knows as well."""
    names = (
        'Ab"c_%/d',
        "ÄÖÜ abc",
        "äöü ABC",
        "xab",
        "straße",
        "STRASSE",
        "日本語の星",
        "a'b--c",
        "abcd",
    )
    for name in names:
        alice.new_task(name, title=name[::-1])
    letters = str.maketrans({each: each.lower() for each in string.ascii_uppercase})
    for name in names:
        for word in {name[start:end] for start in range(4) for end in range(start + 1, 7)}:
            words = word.split()
            if not words or any(each.lower() in "alice" for each in words):
                continue
            found = admin.get("tasks/", query_string={"query": word}).json
            if bench.gateway.database.is_sqlite:
                expected = [
                    each
                    for each in names
                    if all(
                        part.translate(letters) in text.translate(letters)
                        for part in words
                        for text in [f"{each}\n{each[::-1]}"]
                    )
                ]
                assert [task["original_name"] for task in found] == expected[::-1], word
            assert name in [task["original_name"] for task in found], word


def test_words_are_found_by_an_index(bench: Bench, alice: Caller) -> None:
    alice.new_task("field 7")
    with plans("FROM tasks \nWHERE") as found:
        assert alice.get("tasks/?query=field").json[0]["original_name"] == "field 7"
    index = "task_words VIRTUAL TABLE INDEX 0:M2" if bench.gateway.database.is_sqlite else "_words"
    assert len(found) == 1 and index in found[0] and "SCAN tasks" not in found[0], found


def test_old_notes_of_changes_are_removed(bench: Bench, alice: Caller) -> None:
    alice.new_task()
    with bench.gateway.database.writing() as session:
        session.query(ListChange).update({"moment": now().replace(year=2000)})
        forget_changes(session)
        assert session.query(ListChange).count() == 0
    assert len(_numbers(alice)) == 1
