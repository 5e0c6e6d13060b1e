"""What kinds of failure are there, and which of them are worth another try?

The decision is made where the knowledge is: the code that meets the failure raises one of
these two, and the stage service maps them to a retry or to a failed run in one place.
"""

from __future__ import annotations


class SkyrelayError(Exception):
    """Base of all failures that carry a sentence meant for the user."""


class Permanent(SkyrelayError):
    """Trying again cannot help: the image is broken or the parameters make no sense."""


class Retriable(SkyrelayError):
    """Trying again may help: broker, network, remote service, a lost worker."""
