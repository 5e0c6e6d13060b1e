"""The task store: the files of every task, and the state on disk of every run."""

from skyrelay.store.attempt import Attempt, AttemptBusy, RunOver, RunUnknown
from skyrelay.store.tasks import Entry, TaskStore

__all__ = ["Attempt", "AttemptBusy", "Entry", "RunOver", "RunUnknown", "TaskStore"]
