"""Which TCP ports on the loopback interface are free for servers of our own?"""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"

#: Below the kernel's range of ephemeral ports (32768 and up on Linux): a client that reconnects to
#: a server which is down may otherwise be given that very port as its own, and keep it.
PORTS = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports on which nothing listens.

    Random, so that stacks that start at the same moment choose different ones.

    Raises:
        RuntimeError: there are not that many.
    """
    found: list[int] = []
    # Not the `random` module's shared generator: whoever seeds it must not get the same ports.
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        if is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"Fewer than {count} free ports in {PORTS.start}-{PORTS.stop - 1}.")
