"""How does a program see, and clear, what waits and works?"""

from __future__ import annotations

from skyrelay.client.answers import QueueEntry
from skyrelay.client.transport import Transport


class QueueCalls(Transport):
    """The queue: all runs that are not over."""

    def queue(self) -> list[QueueEntry]:
        """All open runs; the tasks of those that we may not see are not named."""
        return [QueueEntry.model_validate(each) for each in self._json("GET", "queue/")]

    def queue_entry(self, run: str) -> QueueEntry:
        """How a run stands, in Celery's words."""
        return QueueEntry.model_validate(self._json("GET", f"queue/{run}/"))

    def terminate(self, run: str) -> int:
        """Stop a run; the number of its stages that were not finished."""
        return int(self._json("POST", f"queue/{run}/terminate/")["revoked_count"])

    def terminate_all(self) -> int:
        """Stop all runs, as an administrator; how many there were."""
        return int(self._json("POST", "queue/terminate_all/")["cancelled"])
