"""How does a program see, and clear, what waits and works?"""

from __future__ import annotations

from skyrelay.client.answers import QueueEntry
from skyrelay.client.transport import Transport

#: Runs that are fetched at a time.
_PAGE = 1000


class QueueCalls(Transport):
    """The queue: all runs that are not over."""

    def queue(self) -> list[QueueEntry]:
        """All open runs, oldest first; the tasks of those that we may not see are not named.

        Fetched page by page: one that begins or ends meanwhile may be left out, or come twice.
        """
        found: list[QueueEntry] = []
        while True:
            page = {"limit": _PAGE, "offset": len(found)}
            entries = self._json("GET", "queue/", params=page)
            found += [QueueEntry.model_validate(each) for each in entries]
            if len(entries) < _PAGE:
                return found

    def queue_entry(self, run: str) -> QueueEntry:
        """How a run stands, in Celery's words."""
        return QueueEntry.model_validate(self._json("GET", f"queue/{run}/"))

    def terminate(self, run: str) -> int:
        """Stop a run; the number of its stages that were not finished."""
        return int(self._json("POST", f"queue/{run}/terminate/")["revoked_count"])

    def terminate_all(self) -> int:
        """Stop all runs, as an administrator; how many there were."""
        return int(self._json("POST", "queue/terminate_all/")["cancelled"])
