"""What does a worker process do: import the science once, then one command after another?

Plain Python, no eventlet, leader of its own session and process group. It talks with its replica
over the socket whose descriptor it is given, and dies with it.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path

from skyrelay.stage.guard import end_children, stand_guarded

_log = logging.getLogger(__name__)

#: Added niceness, so that on a busy machine a kill is heard at once and heartbeats are kept.
NICENESS = 5


def main() -> None:
    """Be a worker of the service named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--log", type=int, required=True)
    options = parser.parse_args()

    guard = stand_guarded(options.parent, options.lifeline, options.channel)
    channel = socket.socket(fileno=options.channel)
    channel.setblocking(True)  # The replica's event loop has made both ends non-blocking.
    os.set_inheritable(options.log, False)
    _serve(options.service, channel, guard, options.log)


def _serve(service: str, channel: socket.socket, guard: int, log: int) -> None:
    # Only now, when the guard stands: this takes seconds.
    from skyrelay import episodes, logs
    from skyrelay.messages import RunStage
    from skyrelay.settings import get_settings
    from skyrelay.stage import programs
    from skyrelay.stage.answers import Answer, Broken, Noted
    from skyrelay.stage.carry_out import carry_out
    from skyrelay.stage.voice import Voice
    from skyrelay.stages import stages_of_service
    from skyrelay.store import open_store

    settings = get_settings()
    logs.configure(settings, open(log, "w", buffering=1, encoding="utf-8"))
    store = open_store(settings)
    for stage in stages_of_service(service):
        importlib.import_module(stage.science)
    # What is here now stays: it need not be looked through after every image.
    gc.collect()
    gc.freeze()
    _give_way()
    voice = Voice(channel, settings.skyrelay_silence)
    programs.watch(settings)
    episodes.listen(lambda episode: voice.tell(Noted(episode=episode)))
    voice.ready(guard)
    for line in channel.makefile("rb"):
        command = RunStage.model_validate_json(line)
        voice.take(command)
        with logs.about(command):
            try:
                answer: Answer | Broken = carry_out(command, store, settings, voice.tell)
            except Exception as error:
                _log.exception("an attempt could not be carried out")
                answer = Broken(reason=f"{type(error).__name__}: {error}")
            end_children(guard)
        voice.answer(answer)
        gc.collect()


def _give_way() -> None:
    """Let the replica, and all that serves people, go first on a busy machine."""
    os.nice(NICENESS)
    # Where the kernel groups processes by session, niceness counts within a session only, and each
    # worker has one of its own.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS))


if __name__ == "__main__":
    main()
