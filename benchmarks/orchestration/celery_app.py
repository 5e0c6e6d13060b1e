"""The same four steps as a chain of Celery, in the manner of STDWeb: 17 messages.

For each step: set the state, do nothing, break the chain if that failed, set the state; and at
last finalize. States are in SQLite with its write-ahead log; messages are persistent, queues
durable and classic, acknowledgements late. No confirms, no claims, no HTTP.
"""

from __future__ import annotations

import os
import sqlite3
import time
from functools import cache
from typing import Any

from celery import Celery, Task, chain
from kombu import Exchange, Queue

#: Names the file of the database, for the workers.
DATABASE = "BENCHMARK_CELERY_DATABASE"

STEPS = ("first", "second", "third", "fourth")

#: Exchange, queue and routing key.
QUEUE = "benchmark.celery"

TABLE = "CREATE TABLE tasks (id INTEGER PRIMARY KEY, state TEXT, ended REAL)"

app = Celery("benchmark", broker=os.environ.get("AMQP_URI"))
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    # Celery publishes around a direct exchange, and its messages could not be counted there.
    task_queues=[Queue(QUEUE, Exchange(QUEUE, type="topic"), routing_key=QUEUE)],
    task_default_queue=QUEUE,
    task_default_exchange=QUEUE,
    task_default_exchange_type="topic",
    task_default_routing_key=QUEUE,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


def connect(path: str) -> sqlite3.Connection:
    """The database; what is committed is on the disk."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


@cache
def _database() -> sqlite3.Connection:
    return connect(os.environ[DATABASE])


@app.task
def set_state(number: int, state: str) -> None:
    """What STDWeb's task of this name does."""
    _database().execute("UPDATE tasks SET state = ? WHERE id = ?", (state, number))


@app.task
def work(number: int) -> None:
    """The step itself."""


@app.task(bind=True)
def break_if_failed(self: Task[Any, Any], number: int) -> None:
    """End the chain here if the step has failed."""
    (state,) = _database().execute("SELECT state FROM tasks WHERE id = ?", (number,)).fetchone()
    if state.endswith("failed"):
        self.request.chain = None


@app.task
def finalize(number: int) -> None:
    """The chain is over."""
    _database().execute("UPDATE tasks SET ended = ? WHERE id = ?", (time.time(), number))


def submit(number: int) -> None:
    """Start the chain of one task."""
    links = [
        link
        for step in STEPS
        for link in (
            set_state.si(number, step),
            work.si(number),
            break_if_failed.si(number),
            set_state.si(number, f"{step}_done"),
        )
    ]
    chain(*links, finalize.si(number)).apply_async()
