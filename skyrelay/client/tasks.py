"""How does a program make, find, change and delete tasks?"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from skyrelay.client.answers import Task, TaskActed
from skyrelay.client.transport import Transport


class TaskCalls(Transport):
    """Tasks."""

    def create_task(
        self,
        file: str | os.PathLike[str] | None = None,
        *,
        local_file: str | None = None,
        ext: int | None = None,
        original_name: str | None = None,
        title: str | None = None,
        config: Mapping[str, Any] | None = None,
        preset: int | None = None,
        groups: Sequence[str] = (),
        steps: Sequence[str] = (),
        key: str | None = None,
    ) -> Task:
        """Make a task of a file of ours, of one in the server's data folder, or of none.

        With ``steps`` its first run begins at once. Under the same ``key`` it is made once only,
        however often it is asked for.
        """
        fields: dict[str, Any] = {
            "local_file": local_file,
            "ext": ext,
            "original_name": original_name,
            "title": title,
            "preset": preset,
            "groups": list(groups),
            "steps": list(steps),
            "config": None if config is None else json.dumps(dict(config)),
        }
        given = {name: value for name, value in fields.items() if value not in (None, [])}
        headers = {"Idempotency-Key": key} if key else {}
        if file is None:
            answer = self._json("POST", "tasks/", json=given, headers=headers)
        else:
            answer = self._upload("tasks/", Path(file), given, headers)
        return Task.model_validate(answer)

    def tasks(
        self, *, query: str = "", state: str = "", user: str = "", details: bool = False
    ) -> Iterator[Task]:
        """The tasks that we may see, newest first, fetched page by page.

        With ``details`` with their groups, place on the sky (ra, dec, radius, pixel_scale; all in
        degrees), target, filter and limit.
        """
        offset, limit = 0, 200
        filters = {"query": query, "state": state, "user": user}
        filters |= {"details": "1"} if details else {}
        while True:
            page = {**filters, "limit": limit, "offset": offset}
            answer = self._json("GET", "tasks/", params={k: v for k, v in page.items() if v != ""})
            for item in answer["results"]:
                yield Task.model_validate(item)
            if answer["next"] is None:
                return
            offset += limit

    def task(self, task: int) -> Task:
        """All of a task."""
        return Task.model_validate(self._json("GET", f"tasks/{task}/"))

    def update(self, task: int, **fields: Any) -> Task:
        """Change original_name, title, config (replaced as a whole) or groups."""
        return Task.model_validate(self._json("PATCH", f"tasks/{task}/", json=fields))

    def delete(self, task: int) -> None:
        """Delete a task with its files, and stop its run."""
        self._request("DELETE", f"tasks/{task}/")

    def share(self, task: int, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Task:
        """Share a task with some groups, and no longer with others; the rest stays."""
        body = {"add": list(add), "remove": list(remove)}
        return Task.model_validate(self._json("POST", f"tasks/{task}/groups/", json=body))

    def act(self, action: str, tasks: Sequence[int], groups: Sequence[str] = ()) -> list[TaskActed]:
        """Do the same to many tasks: each of them that allows it.

        Parameters
        ----------
        action : str
            archive, cleanup, delete, add_to_groups or remove_from_groups.
        """
        body = {"action": action, "ids": list(tasks), "groups": list(groups)}
        answer = self._json("POST", "tasks/actions/", json=body)
        return [TaskActed.model_validate(each) for each in answer]

    def duplicate(self, task: int, *, products: bool = True) -> Task:
        """Make a task of one's own with the same files and configuration.

        Without ``products`` it has only what a stage cannot make again.
        """
        body = {"products": products}
        return Task.model_validate(self._json("POST", f"tasks/{task}/duplicate/", json=body))
