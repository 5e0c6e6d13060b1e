"""What kinds of failure are there, and which of them are worth another try?

The decision is made where the knowledge is: the code that meets the failure raises one of
these two, and the stage service maps them to a retry or to a failed run in one place.
"""

from __future__ import annotations

import errno
from collections.abc import Collection

#: What a file system that is out of reach, or a machine short of processes, answers; a time-out is
#: more often that of a service on the network, of which the science decides itself.
_PASSING = {
    errno.EIO,
    errno.ESTALE,
    errno.EREMOTEIO,
    errno.ENOTCONN,
    errno.EAGAIN,
    errno.ENFILE,
}


class SkyrelayError(Exception):
    """Base of all failures that carry a sentence meant for the user."""


class Permanent(SkyrelayError):
    """Trying again cannot help: the image is broken or the parameters make no sense."""


class Retriable(SkyrelayError):
    """Trying again may help: broker, network, remote service, a lost worker."""


def may_pass(error: BaseException | None) -> bool:
    """Whether the error, or what it comes from, is of the machine, and may be over soon."""
    return comes_from(error, _PASSING)


def comes_from(error: BaseException | None, numbers: Collection[int]) -> bool:
    """Whether the error, or what it comes from, is of the system and has one of these numbers."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in numbers:
            return True
        error = error.__cause__ or error.__context__
    return False
