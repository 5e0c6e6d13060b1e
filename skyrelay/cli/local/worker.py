"""What does a worker of the command line do: one job after another, in a group that can be ended.

As the workers of a replica it leads a session of its own, and dies with the process that started
it, with all that the science has started.
"""

from __future__ import annotations

import argparse
import socket
import warnings
from contextlib import suppress
from pathlib import Path

from skyrelay.stage.guard import end_children, stand_guarded


def main() -> None:
    """Take jobs from the channel until it closes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args()
    guard = stand_guarded(options.parent, options.lifeline, options.channel)
    # Where nobody hears it our parent is gone, and the guard is about to end all of us.
    with suppress(ConnectionError):
        _serve(socket.socket(fileno=options.channel), guard)


def _serve(channel: socket.socket, guard: int) -> None:
    # Only now, when the guard stands: this takes seconds.
    from skyrelay.cli.local.job import Job, Line, Ready, run_job
    from skyrelay.settings import get_settings

    # A person at a terminal may use whatever file they can read, by its whole path.
    settings = get_settings().model_copy(update={"data_path": Path("/")})
    warnings.simplefilter("ignore")

    def tell(line: Line) -> None:
        channel.sendall(line.model_dump_json().encode() + b"\n")

    tell(Ready(guard=guard))
    for text in channel.makefile("rb"):
        run_job(Job.model_validate_json(text), settings, tell)
        end_children(guard)


if __name__ == "__main__":
    main()
