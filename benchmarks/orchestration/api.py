"""How does a client talk to the gateway at hardly any cost of its own?

`skyrelay.client` is for people; here the client shares two cores with what it measures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit


class Api:
    """One connection that is kept; not to be shared between threads."""

    def __init__(self, base_url: str, token: str) -> None:
        address = urlsplit(base_url)
        self._connection = HTTPConnection(str(address.hostname), address.port, timeout=120)
        self._headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}

    def get(self, path: str) -> Any:
        """What the gateway answers at this path under ``/api/``."""
        try:
            return self._request("GET", path, None)
        except RemoteDisconnected:
            # We were silent for longer than the gateway keeps a connection.
            self._connection.close()
            return self._request("GET", path, None)

    def post(self, path: str, content: Any) -> Any:
        """What the gateway answers to this content."""
        return self._request("POST", path, json.dumps(content).encode())

    def new_task(self) -> int:
        """A new task without an image; its id."""
        return int(self.post("tasks/", {"original_name": "nothing.fits"})["id"])

    def process(self, task: int, steps: Sequence[str]) -> None:
        """Start a run of these steps."""
        self.post(f"tasks/{task}/process/", {"steps": list(steps)})

    def is_running(self, task: int) -> bool:
        """Whether the task has an open run."""
        return self.get(f"tasks/{task}/state/")["celery_id"] is not None

    def count(self, state: str) -> int:
        """The number of tasks in this state."""
        return int(self.get(f"tasks/?limit=1&state={state}")["count"])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _request(self, method: str, path: str, body: bytes | None) -> Any:
        self._connection.request(method, f"/api/{path}", body, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
        return json.loads(content)
