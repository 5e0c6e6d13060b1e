"""How does a Python program use Skyrelay?

::

    client = Client.login("http://127.0.0.1:8000", "me", "secret")
    task = client.create_task("image.fits", title="M51", config={"target": "SN 2011dh"})
    client.process(task.id, ["inspect", "photometry"])
    state = client.wait(task.id, on_progress=print)
    client.download(task.id, "target.vot", "target.vot")
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import requests
from pydantic import BaseModel, ConfigDict

#: Seconds to connect, and seconds of silence before an answer is given up.
_TIMEOUT = (10.0, 120.0)
_CHUNK = 1024 * 1024


class ClientError(Exception):
    """Something that was asked of the server did not happen."""


class ServerAway(ClientError):
    """The server does not answer, or cannot work just now."""


class RequestRefused(ClientError):
    """The server refused; ``status`` is the HTTP status, ``body`` what it said."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(_sentence(status, body))
        self.status = status
        self.body = body


class NotAuthenticated(RequestRefused):
    """The token, or the user name and password, are not accepted."""


class Forbidden(RequestRefused):
    """It belongs to somebody else."""


class NotFound(RequestRefused):
    """There is no such task or file."""


class Conflict(RequestRefused):
    """Not while the task is being processed."""


class StillRunning(ClientError):
    """The time to wait is over, and the task is still being processed."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Task(_Answer):
    """A task. From `Client.create_task` and `Client.tasks` only some fields are set."""

    id: int
    original_name: str
    title: str = ""
    state: str = ""
    user: str = ""
    groups: list[str] = []
    created: str | None = None
    modified: str | None = None
    completed: str | None = None
    config: dict[str, Any] = {}
    celery_id: str | None = None
    path: str = ""
    warnings: list[str] = []


class TaskState(_Answer):
    """Where a task stands.

    ``progress`` is the fraction of the whole run, ``fraction`` that of the present stage.
    ``error`` says why the last run failed, ``degraded`` what is missing from its results.
    """

    id: int
    state: str
    celery_id: str | None
    progress: float | None = None
    step: str = ""
    stage: str = ""
    fraction: float | None = None
    doing: str = ""
    error: str = ""
    degraded: list[str] = []

    @property
    def running(self) -> bool:
        """Whether the task has an open run."""
        return self.celery_id is not None

    @property
    def failed(self) -> bool:
        """Whether the last run failed."""
        return not self.running and self.state.endswith("failed")


class Started(_Answer):
    """A run that has begun."""

    id: int
    state: str
    celery_id: str
    steps: list[str]
    warnings: list[str] = []


class Attempt(_Answer):
    """One try of one stage."""

    attempt: int
    state: str
    worker: str
    queued: str | None
    started: str | None
    finished: str | None
    seconds: float | None
    fraction: float
    doing: str
    reasons: list[str]


class StageReport(_Answer):
    """One stage of a run. ``values``: name -> {value, error, unit, doc}."""

    step: str
    title: str
    state: str
    seconds: float | None
    reasons: list[str]
    values: dict[str, dict[str, Any]]
    attempts: list[Attempt]


class Run(_Answer):
    """One processing request; its state is open, done, degraded, failed or cancelled."""

    id: str
    state: str
    user: str | None
    steps: list[str]
    created: str
    ended: str | None
    seconds: float
    reasons: list[str]
    stages: list[StageReport]


class FileEntry(_Answer):
    """A file or folder of a task."""

    name: str
    path: str
    size: int
    modified: str
    is_dir: bool


class Client:
    """A session with a Skyrelay server. Not to be shared between threads.

    Every method raises `ServerAway` if the server cannot be reached and a `RequestRefused`
    (`NotAuthenticated`, `Forbidden`, `NotFound`, `Conflict`) if it refuses.
    """

    def __init__(self, base_url: str, token: str = "") -> None:
        self.base_url = base_url.rstrip("/")
        self.token = token
        self._session = requests.Session()
        # Only our own token is to be sent, whatever a .netrc says.
        self._session.trust_env = False

    @classmethod
    def login(cls, base_url: str, username: str, password: str) -> Self:
        """A client with the token of this user."""
        client = cls(base_url)
        try:
            client.obtain_token(username, password)
        except RequestRefused as error:
            client.close()
            if error.status == 400:
                raise NotAuthenticated(error.status, error.body) from error
            raise
        return client

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def obtain_token(self, username: str, password: str) -> str:
        """Get the user's token, and use it from now on."""
        answer = self._json(
            "POST", "auth/token/", json={"username": username, "password": password}
        )
        self.token = str(answer["token"])
        return self.token

    # Tasks

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
    ) -> Task:
        """Make a task of a file of ours, of one in the server's data folder, or of none."""
        fields: dict[str, Any] = {
            "local_file": local_file,
            "ext": ext,
            "original_name": original_name,
            "title": title,
            "preset": preset,
            "groups": list(groups),
            "config": None if config is None else json.dumps(dict(config)),
        }
        given = {name: value for name, value in fields.items() if value not in (None, [])}
        if file is None:
            return Task.model_validate(self._json("POST", "tasks/", json=given))
        return Task.model_validate(self._upload("tasks/", Path(file), given))

    def tasks(self, *, query: str = "", state: str = "", user: str = "") -> Iterator[Task]:
        """The tasks that we may see, newest first, fetched page by page."""
        offset, limit = 0, 200
        filters = {"query": query, "state": state, "user": user}
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

    # Processing

    def process(
        self,
        task: int,
        steps: Sequence[str],
        config: Mapping[str, Any] | None = None,
        *,
        priority: int = 0,
    ) -> Started:
        """Begin a run of these steps; ``config`` is merged into the task's.

        Runs of a higher ``priority`` (-10 to 10) overtake others that wait.
        """
        body = {"steps": list(steps), "config": dict(config or {}), "priority": priority}
        return Started.model_validate(self._json("POST", f"tasks/{task}/process/", json=body))

    def fix(self, task: int) -> None:
        """Have the task's image written anew as a plain file with a clean header."""
        self._change(task, "fix")

    def crop(self, task: int, **box: int) -> None:
        """Keep a part of the task's image: x1, y1, x2, y2, each of which may be left out."""
        self._change(task, "crop", **box)

    def destripe(self, task: int, direction: str = "both") -> None:
        """Remove horizontal or vertical stripes, or both, from the task's image."""
        self._change(task, "destripe", direction=direction)

    def _change(self, task: int, how: str, **parameters: Any) -> None:
        answer = self._json("POST", f"tasks/{task}/{how}/", json=parameters)
        if answer["status"] == "running":
            raise StillRunning(f"The task {task} is still being processed.")

    def duplicate(self, task: int) -> Task:
        """Make a task of one's own with the same files and configuration."""
        return Task.model_validate(self._json("POST", f"tasks/{task}/duplicate/"))

    def state(self, task: int) -> TaskState:
        """Where the task stands."""
        return TaskState.model_validate(self._json("GET", f"tasks/{task}/state/"))

    def follow(self, task: int) -> Generator[TaskState]:
        """The task's state now, and whenever it changes, until the task is deleted.

        Ends, too, when the server ends the stream, as it does now and then: call it again. Who
        leaves it before its end closes it, or its connection stays open.
        """
        headers = {"Accept": "text/event-stream"}
        path = f"tasks/{task}/events/"
        with self._response("GET", path, headers=headers, stream=True) as response:
            kind = ""
            with _translated():
                for line in response.iter_lines(chunk_size=1, decode_unicode=True):
                    if line.startswith("event: "):
                        kind = line.removeprefix("event: ")
                    elif line.startswith("data: ") and kind == "state":
                        yield TaskState.model_validate_json(line.removeprefix("data: "))
                    elif kind == "gone":
                        return

    def runs(self, task: int) -> list[Run]:
        """The runs of the task, newest first, with stages, attempts and measured values."""
        return [Run.model_validate(item) for item in self._json("GET", f"tasks/{task}/runs/")]

    def cancel(self, task: int) -> int:
        """Stop the task's run; the number of its stages that were not finished."""
        return int(self._json("POST", f"tasks/{task}/cancel/")["revoked_count"])

    def wait(
        self,
        task: int,
        *,
        timeout: float | None = None,
        on_progress: Callable[[TaskState], None] | None = None,
        interval: float = 0.5,
        patience: float = 60.0,
    ) -> TaskState:
        """Wait until the task's run has ended, however it ended; see ``failed`` and ``error``.

        Parameters
        ----------
        timeout : float, optional
            Seconds after which to give up with `StillRunning`.
        on_progress : callable, optional
            Called with each state that differs from the one before.
        interval : float
            Seconds between two looks.
        patience : float
            Seconds for which a server that is away is waited for.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        heard = time.monotonic()
        last: TaskState | None = None
        while True:
            try:
                state = self.state(task)
                heard = time.monotonic()
            except ServerAway:
                if time.monotonic() - heard > patience:
                    raise
            else:
                if on_progress is not None and state != last:
                    on_progress(state)
                last = state
                if not state.running:
                    return state
            if deadline is not None and time.monotonic() > deadline:
                raise StillRunning(f"Task {task} is still being processed after {timeout:g} s.")
            time.sleep(interval)

    # Files

    def files(self, task: int) -> list[FileEntry]:
        """What is at the top level of the task's folder."""
        return [
            FileEntry.model_validate(item) for item in self._json("GET", f"tasks/{task}/files/")
        ]

    def upload(self, task: int, file: str | os.PathLike[str], path: str | None = None) -> int:
        """Store a file of ours under ``path`` (default: its name); its size in bytes."""
        source = Path(file)
        answer = self._upload(self._file(task, path or source.name), source, {})
        return int(answer["size"])

    def download(self, task: int, path: str, target: str | os.PathLike[str]) -> Path:
        """Fetch a file of the task into the file, or folder, ``target``; where it is now."""
        place = Path(target)
        if place.is_dir():
            place = place / Path(path).name
        partial = place.with_name(f".{place.name}.part")
        with self._response("GET", self._file(task, path), stream=True) as response:
            with _translated(), partial.open("wb") as file:
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
        partial.replace(place)
        return place

    def read(self, task: int, path: str) -> bytes:
        """The content of a file of the task."""
        return self._request("GET", self._file(task, path)).content

    def delete_file(self, task: int, path: str) -> None:
        """Remove a file, or a folder with all that is in it."""
        self._request("DELETE", self._file(task, path))

    def _file(self, task: int, path: str) -> str:
        return f"tasks/{task}/files/{quote(path)}"

    # HTTP

    def _upload(self, path: str, file: Path, fields: Mapping[str, Any]) -> Any:
        with file.open("rb") as source:
            form = _Form(fields, file.name, source)
            headers = {"Content-Type": form.content_type}
            return self._request("POST", path, data=form, headers=headers).json()

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return self._request(method, path, **options).json()

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        with self._response(method, path, **options) as response, _translated():
            _ = response.content
            return response

    def _response(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = options.pop("headers", {})
        if self.token:
            headers["Authorization"] = f"Token {self.token}"
        with _translated():
            response = self._session.request(
                method, f"{self.base_url}/api/{path}", headers=headers, timeout=_TIMEOUT, **options
            )
        if response.ok:
            return response
        with response, _translated():
            _raise_refusal(response)
        return response


class _Form:
    """A multipart form with one file, streamed: requests would read the file into memory."""

    def __init__(self, fields: Mapping[str, Any], name: str, source: Any) -> None:
        boundary = uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{item}\r\n'
            for key, value in fields.items()
            for item in (value if isinstance(value, list) else [value])
        ]
        plain = name.replace("\\", "_").replace('"', "_").replace("\r", "_").replace("\n", "_")
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{plain}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head = "".join(parts).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._source = source
        self._size = os.fstat(source.fileno()).st_size

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        while chunk := self._source.read(_CHUNK):
            yield chunk
        yield self._tail


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except requests.ConnectionError as error:
        raise ServerAway("The server does not answer: is it running at this address?") from error
    except requests.Timeout as error:
        raise ServerAway("The server took too long to answer.") from error
    except requests.RequestException as error:
        raise ServerAway(f"The server's answer was broken off: {error}") from error


def _raise_refusal(response: requests.Response) -> None:
    try:
        body = response.json()
    except ValueError:
        body = response.text[:500]
    status = response.status_code
    if status in (502, 503, 504):
        raise ServerAway(_sentence(status, body))
    kinds = {401: NotAuthenticated, 403: Forbidden, 404: NotFound, 409: Conflict}
    raise kinds.get(status, RequestRefused)(status, body)


def _sentence(status: int, body: Any) -> str:
    """What the server said, in one line."""
    if not isinstance(body, dict):
        return f"HTTP {status}: {body}"
    for key in ("error", "detail"):
        if key in body:
            return str(body[key])
    return "; ".join(
        f"{name}: {' '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in body.items()
    )
