"""The task store: the files of every task, and the state of every run."""

from skyrelay.settings import Settings
from skyrelay.store.attempt import Attempt, AttemptBusy, ClaimLost, RunOver, RunUnknown
from skyrelay.store.presence import StoreAway, StoreMissing
from skyrelay.store.tasks import Entry, StoredRun, TaskStore

__all__ = [
    "Attempt",
    "AttemptBusy",
    "ClaimLost",
    "Entry",
    "RunOver",
    "RunUnknown",
    "StoreAway",
    "StoreMissing",
    "StoredRun",
    "TaskStore",
    "open_store",
]


def open_store(settings: Settings) -> TaskStore:
    """The store of this installation: a folder, or a bucket if TASKS_URL names one.

    A folder is not made here: what is missing may be its mount, and only the gateway knows.
    """
    if not settings.tasks_url:
        return TaskStore(settings.tasks_path, sync=settings.skyrelay_sync_store, make=False)
    # Only here: whoever has a folder need not wait for boto3.
    from skyrelay.store.s3.tasks import S3TaskStore

    return S3TaskStore(
        settings.tasks_path,
        settings.tasks_url,
        cache=settings.skyrelay_s3_cache * 2**30,
        redirect=settings.skyrelay_s3_redirect,
    )
