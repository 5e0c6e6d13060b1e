"""How is the server asked, without taking the processors it needs? By wrk, which is small."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: Requests that are under way at once: what eight STDWeb clients would do.
CONNECTIONS = 8

_SCRIPT = """\
local method, token, body = os.getenv("METHOD"), os.getenv("TOKEN"), os.getenv("BODY")
local first, last = tonumber(os.getenv("FIRST")), tonumber(os.getenv("LAST"))
local step = tonumber(os.getenv("STEP"))
local path, words = os.getenv("REQUEST_PATH"), tonumber(os.getenv("WORDS"))
local headers = {["Authorization"] = "Token " .. token}
if body ~= "" then
  local file = io.open(body, "rb")
  body = file:read("*all")
  file:close()
  headers["Content-Type"] = "multipart/form-data; boundary=boundary"
else
  body = nil
end
math.randomseed(20261125)
request = function()
  local number = first + step * math.random(0, math.floor((last - first) / step))
  local word = math.random(0, words)
  local asked = path:gsub("NUMBER", string.format("%d", number))
  asked = asked:gsub("WORD", string.format("%06d", word))
  return wrk.format(method, asked, headers, body)
end
done = function(summary, latency, requests)
  io.stderr:write(string.format(
    '{"requests": %d, "seconds": %f, "failed": %d, "p95": %f}',
    summary.requests, summary.duration / 1e6,
    summary.errors.status + summary.errors.connect + summary.errors.read
      + summary.errors.write + summary.errors.timeout,
    latency:percentile(95) / 1000))
end
"""


@dataclass(frozen=True)
class Question:
    """One kind of request; NUMBER and WORD in its path are drawn anew for each.

    ``numbers``: first, last and step of what NUMBER may be. ``floor``: requests per second to
    reach on two cores, 0 for none; ``connections``: requests that are under way at once.
    """

    name: str
    path: str
    user: str
    numbers: tuple[int, int, int] = (0, 0, 1)
    words: int = 4999
    method: str = "GET"
    body: Path | None = None
    floor: float = 0.0
    connections: int = CONNECTIONS


@dataclass(frozen=True)
class Answered:
    """How often the question was answered in a second, and how soon (95th percentile, ms).

    ``memory``: MiB of the server meanwhile, 0 where it was not looked at.
    """

    name: str
    rate: float
    p95: float
    failed: int
    floor: float
    memory: float = 0.0


def ask(url: str, token: str, question: Question, seconds: int, scratch: Path) -> Answered:
    """Ask all the time, from several connections.

    Raises
    ------
    RuntimeError
        If the load generator cannot work.
    """
    script = scratch / "load.lua"
    script.write_text(_SCRIPT)
    first, last, step = question.numbers
    done = subprocess.run(
        ["wrk", "-t1", f"-c{question.connections}", f"-d{seconds}s", "-s", str(script), url],
        env={
            "PATH": "/usr/bin:/bin",
            "METHOD": question.method,
            "REQUEST_PATH": question.path,
            "TOKEN": token,
            "BODY": str(question.body or ""),
            **{"FIRST": str(first), "LAST": str(last), "STEP": str(step)},
            "WORDS": str(question.words),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        figures = json.loads(done.stderr)
    except ValueError as error:
        raise RuntimeError(f"wrk did not work: {done.stderr or done.stdout}") from error
    rate = figures["requests"] / figures["seconds"]
    return Answered(question.name, rate, figures["p95"], figures["failed"], question.floor)
