"""What comes in at the sky server, and what goes out?"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Question:
    """A request: what follows the service's address, its query as text and taken apart, its body
    as it is and, if it is a form, taken apart."""

    path: str
    text: str = ""
    query: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    form: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    body: bytes
    kind: str
    status: int = 200
