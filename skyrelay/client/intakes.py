"""How does a program have many files become tasks?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skyrelay.client.answers import Intake
from skyrelay.client.transport import Transport


class IntakeCalls(Transport):
    """Batches, and folders that are watched."""

    def create_batch(
        self, *, files: Sequence[str] = (), folder: str | None = None, **fields: Any
    ) -> Intake:
        """Make a task of each of these files of the data folder, or of all in ``folder``.

        ``fields``: pattern, preset, config, steps, groups, priority, for all of them.
        """
        body = fields | ({"files": list(files)} if files else {"folder": folder or ""})
        return Intake.model_validate(self._json("POST", "batches/", json=body))

    def batch(self, number: int) -> Intake:
        """What has become of a batch."""
        return Intake.model_validate(self._json("GET", f"batches/{number}/"))

    def batches(self) -> list[Intake]:
        """Our batches, newest first."""
        return [Intake.model_validate(each) for each in self._json("GET", "batches/")]

    def watches(self) -> list[Intake]:
        """The folders that are watched."""
        return [Intake.model_validate(each) for each in self._json("GET", "watches/")]

    def watched(self, number: int) -> Intake:
        """What has become of the files of a watched folder."""
        return Intake.model_validate(self._json("GET", f"watches/{number}/"))

    def pause_watch(self, number: int, *, active: bool = False) -> Intake:
        """Look no more into a watched folder for now, or with ``active`` again."""
        body = {"active": active}
        return Intake.model_validate(self._json("PATCH", f"watches/{number}/", json=body))

    def watch(self, folder: str, **fields: Any) -> Intake:
        """Have each new file of the folder become a task; see `create_batch` for the fields."""
        body = {"folder": folder, **fields}
        return Intake.model_validate(self._json("POST", "watches/", json=body))

    def unwatch(self, number: int) -> None:
        """Watch a folder no more."""
        self._request("DELETE", f"watches/{number}/")
