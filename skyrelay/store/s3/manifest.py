"""Which objects are the files of a folder?

One object says it, and is replaced by conditional writes only. Readers go through it, so they see
all that was published with it or nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import BaseModel, Field

#: Below it lies what was uploaded before it was known whose it would be. One manifest names it, or
#: none; so it lasts as long as the other objects of that one's task.
UPLOADS = ".uploads/"


class StoredFile(BaseModel, frozen=True):
    """A file of a folder: where its bytes are, and how it is known again on this machine."""

    key: str
    size: int
    #: Nanoseconds since 1970; with the size it tells a file that was replaced from one that is as
    #: it was.
    modified: int

    @property
    def time(self) -> datetime:
        """When it was made."""
        return datetime.fromtimestamp(self.modified / 1e9, UTC)


class Manifest(BaseModel, frozen=True):
    """The files of a folder by their path in it.

    Each has a version of its own, so that the ETags of two are never the same.
    """

    version: str = Field(default_factory=lambda: secrets.token_hex(8))
    files: dict[str, StoredFile] = {}

    def below(self, path: str) -> set[str]:
        """The file of this path, or the files in the folder of this path."""
        return {name for name in self.files if name == path or name.startswith(f"{path}/")}


#: What a folder becomes, given what it is.
Change = Callable[[Manifest], Manifest]
