"""Does a replica stay awake, whatever it waits for?"""

from __future__ import annotations

import subprocess
import sys

# The look-up ends only when another green thread has had its turn.
PROGRAM = """
import os
import warnings

warnings.simplefilter("ignore")
os.environ["EVENTLET_NO_GREENDNS"] = "yes"
import eventlet

eventlet.monkey_patch()
import socket
from skyrelay.stage.replica import resolve_names_in_a_thread

turn = eventlet.patcher.original("threading").Event()


def look_up(host, port):
    assert turn.wait(60)
    return f"{host}:{port}"


socket.getaddrinfo = look_up
resolve_names_in_a_thread()
eventlet.spawn_after(0.1, turn.set)
print(socket.getaddrinfo("broker", 5672))
"""


def test_a_slow_look_up_of_a_name_holds_up_nothing_else() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.stdout == "broker:5672\n", answer.stderr
