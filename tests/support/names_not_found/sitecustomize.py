"""Python runs this first where PYTHONPATH names its folder: looking for addresses takes for ever.

As it does, for half a minute, where a container is gone and nobody knows its name. It begins when
the file that ``NAMES_NOT_FOUND`` names is there; then whoever looks leaves a line in it.
"""

import os
import socket
import time

_look_up, _sleep = socket.getaddrinfo, time.sleep
_FILE = os.environ["NAMES_NOT_FOUND"]


def _never_find(*arguments: object, **options: object) -> object:
    if os.path.exists(_FILE):
        with open(_FILE, "a") as file:
            file.write(f"{os.getpid()}\n")
        _sleep(3600)
    return _look_up(*arguments, **options)  # type: ignore[arg-type]


socket.getaddrinfo = _never_find  # type: ignore[assignment]
