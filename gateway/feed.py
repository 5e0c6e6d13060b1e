"""How does a client see, without asking again and again, how far a task is?

One thread of each web process looks at all tasks that anybody watches, in one question to the
database, and hands on what has changed. So a thousand watchers cost what one does.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.database import Database
from gateway.models import Run, StageAttempt, Task, now
from skyrelay import logs

_log = logging.getLogger(__name__)

#: Seconds between two looks.
LOOK = 0.5
#: A change may be written down with the moment of its making, and be seen only so much later.
_LATE = timedelta(seconds=10)

#: State of a task as a client reads it.
State = Mapping[str, Any]
#: Makes that state of a task, its open run, and the attempts of the run's present stage.
Serializer = Callable[[Task, Run | None, Sequence[StageAttempt]], State]

#: What a watcher gets for a task that is gone.
GONE: State = {}


class TooManyWatchers(Exception):
    """As many watch already as this process can serve."""


class Watcher:
    """Gets the latest state of one task; what was not fetched in time is replaced by the newest."""

    def __init__(self) -> None:
        self._latest: queue.Queue[State] = queue.Queue(maxsize=1)

    def put(self, state: State) -> None:
        """Replace what was not fetched yet."""
        try:
            self._latest.get_nowait()
        except queue.Empty:
            pass
        self._latest.put_nowait(state)

    def get(self, seconds: float) -> State | None:
        """The next state; None if nothing changes for so long."""
        try:
            return self._latest.get(timeout=seconds)
        except queue.Empty:
            return None


class OwnerWatcher:
    """Gets the latest states of a user's tasks, each once for every change.

    ``since``: tasks that were changed later are told of, too, not only those that run.
    """

    def __init__(self, since: datetime) -> None:
        self.since = since
        self._fresh: dict[int, State] = {}
        self._told: dict[int, State] = {}
        self._changed = threading.Condition()

    @property
    def told(self) -> list[int]:
        """The tasks that it has been told of and that are not gone."""
        with self._changed:
            return list(self._told)

    def put(self, task: int, state: State) -> None:
        """Tell of a task, unless the same was told last."""
        with self._changed:
            if self._told.get(task) == state:
                return
            if state is GONE:
                del self._told[task]
            else:
                self._told[task] = state
            self._fresh[task] = state
            self._changed.notify()

    def get(self, seconds: float) -> dict[int, State]:
        """What is new, by task; empty if nothing changes for so long."""
        with self._changed:
            if not self._fresh:
                self._changed.wait(seconds)
            fresh, self._fresh = self._fresh, {}
        return fresh


class Feed:
    """The states of watched tasks, for the watchers of one process.

    Parameters
    ----------
    most : int
        Watchers at once: each of them keeps a thread of the web server.
    """

    def __init__(self, database: Database, serialize: Serializer, most: int) -> None:
        self._database = database
        self._serialize = serialize
        self._most = most
        self._lock = threading.Lock()
        self._watchers: dict[int, list[Watcher]] = defaultdict(list)
        self._owners: dict[int, list[OwnerWatcher]] = defaultdict(list)
        self._last: dict[int, State] = {}
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        #: Whether this process still serves; watchers ask it.
        self.serving: Callable[[], bool] = lambda: True

    @contextmanager
    def watching(self, task: int) -> Iterator[Watcher]:
        """A watcher of this task, who gets its present state first.

        Raises
        ------
        TooManyWatchers
            If there are as many already as may be.
        """
        watcher = Watcher()
        with self._lock:
            self._make_room()
            self._watchers[task].append(watcher)
            # Whoever comes new must be told even if nothing changes.
            self._last.pop(task, None)
            self._begin()
        try:
            yield watcher
        finally:
            with self._lock:
                self._watchers[task].remove(watcher)
                if not self._watchers[task]:
                    del self._watchers[task]

    @contextmanager
    def watching_tasks_of(self, user: int, since: datetime) -> Iterator[OwnerWatcher]:
        """A watcher of all tasks of a user; raises what `watching` raises."""
        watcher = OwnerWatcher(since)
        with self._lock:
            self._make_room()
            self._owners[user].append(watcher)
            self._begin()
        try:
            yield watcher
        finally:
            with self._lock:
                self._owners[user].remove(watcher)
                if not self._owners[user]:
                    del self._owners[user]

    def _make_room(self) -> None:
        open_now = sum(map(len, self._watchers.values())) + sum(map(len, self._owners.values()))
        if open_now >= self._most:
            raise TooManyWatchers

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="feed", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Look no more; returns when nothing of this process's database is in use by it."""
        self._stopped.set()
        thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                watched = list(self._watchers)
                owners = {user: list(watchers) for user, watchers in self._owners.items()}
                if not (watched or owners) or self._stopped.is_set():
                    self._thread = None
                    self._last.clear()
                    return
            try:
                if watched:
                    self._hand_out(self._states(watched))
                for user, watchers in owners.items():
                    self._tell_owner(user, watchers)
            except SQLAlchemyError as error:
                _log.warning("live updates failed: %s", error)
            except Exception:
                # This thread must not end: nobody would hear of anything, and all would wait.
                _log.exception("live updates failed")
            self._stopped.wait(LOOK)

    def _states(self, watched: Sequence[int]) -> dict[int, State]:
        states = self._states_where(Task.id.in_(watched))
        known = {number: states.get(number, GONE) for number in watched}
        return {number: state for number, state in known.items() if state is not None}

    def _tell_owner(self, user: int, watchers: Sequence[OwnerWatcher]) -> None:
        begun = now()
        since = min(watcher.since for watcher in watchers)
        changed = or_(Task.celery_id.is_not(None), Task.modified >= since)
        states = self._states_where((Task.user_id == user) & changed)
        told = {task for watcher in watchers for task in watcher.told} - states.keys()
        alive = self._alive(told)
        for watcher in watchers:
            for task, state in states.items():
                if state is not None:
                    watcher.put(task, state)
            for task in set(watcher.told) & (told - alive):
                watcher.put(task, GONE)
            watcher.since = max(watcher.since, begun - _LATE)

    def _alive(self, tasks: set[int]) -> set[int]:
        if not tasks:
            return set()
        with self._database.reading() as session:
            return set(session.scalars(select(Task.id).where(Task.id.in_(tasks))))

    def _states_where(self, condition: ColumnElement[bool]) -> dict[int, State | None]:
        """The tasks and their states; None where that cannot be told."""
        query = (
            select(Task, Run, StageAttempt)
            .outerjoin(Run, Run.id == Task.celery_id)
            .outerjoin(
                StageAttempt,
                (StageAttempt.run_id == Run.id) & (StageAttempt.index == Run.position),
            )
            .where(condition)
            .order_by(Task.id, StageAttempt.part, StageAttempt.attempt)
        )
        attempts: dict[int, list[StageAttempt]] = defaultdict(list)
        found: dict[int, tuple[Task, Run | None]] = {}
        with self._database.reading() as session:
            for task, run, attempt in session.execute(query):
                found[task.id] = (task, run)
                if attempt is not None:
                    attempts[task.id].append(attempt)
        return {
            number: self._state(task, run, attempts[number])
            for number, (task, run) in found.items()
        }

    def _state(self, task: Task, run: Run | None, attempts: Sequence[StageAttempt]) -> State | None:
        try:
            return self._serialize(task, run, attempts)
        except Exception:
            # The watchers of all other tasks are in the same round.
            with logs.about(task=task.id):
                _log.exception("its state cannot be told")
            return None

    def _hand_out(self, states: dict[int, State]) -> None:
        with self._lock:
            for task, state in states.items():
                if self._last.get(task) != state:
                    self._last[task] = state
                    for watcher in self._watchers.get(task, ()):
                        watcher.put(state)
