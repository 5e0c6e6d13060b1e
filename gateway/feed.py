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
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from gateway.database import Database
from gateway.models import Run, StageAttempt, Task

_log = logging.getLogger(__name__)

#: Name under which the web application keeps its feed.
FEED = "skyrelay_feed"

#: Seconds between two looks.
LOOK = 0.5

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
            if sum(map(len, self._watchers.values())) >= self._most:
                raise TooManyWatchers
            self._watchers[task].append(watcher)
            # Whoever comes new must be told even if nothing changes.
            self._last.pop(task, None)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="feed", daemon=True)
                self._thread.start()
        try:
            yield watcher
        finally:
            with self._lock:
                self._watchers[task].remove(watcher)
                if not self._watchers[task]:
                    del self._watchers[task]

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
                if not watched or self._stopped.is_set():
                    self._thread = None
                    self._last.clear()
                    return
            try:
                self._hand_out(self._states(watched))
            except SQLAlchemyError as error:
                _log.warning("watchers get nothing: %s", error)
            self._stopped.wait(LOOK)

    def _states(self, watched: Sequence[int]) -> dict[int, State]:
        query = (
            select(Task, Run, StageAttempt)
            .outerjoin(Run, Run.id == Task.celery_id)
            .outerjoin(
                StageAttempt,
                (StageAttempt.run_id == Run.id) & (StageAttempt.index == Run.position),
            )
            .where(Task.id.in_(watched))
            .order_by(Task.id, StageAttempt.part, StageAttempt.attempt)
        )
        attempts: dict[int, list[StageAttempt]] = defaultdict(list)
        found: dict[int, tuple[Task, Run | None]] = {}
        with self._database.reading() as session:
            for task, run, attempt in session.execute(query):
                found[task.id] = (task, run)
                if attempt is not None:
                    attempts[task.id].append(attempt)
        states = {
            number: self._serialize(task, run, attempts[number])
            for number, (task, run) in found.items()
        }
        return {number: states.get(number, GONE) for number in watched}

    def _hand_out(self, states: dict[int, State]) -> None:
        with self._lock:
            for task, state in states.items():
                if self._last.get(task) != state:
                    self._last[task] = state
                    for watcher in self._watchers.get(task, ()):
                        watcher.put(state)
