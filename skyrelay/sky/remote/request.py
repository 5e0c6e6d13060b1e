"""What is sent to a service?"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """One question, whichever of a service's addresses it goes to.

    Attributes
    ----------
    path : str
        What follows the address.
    params : dict
        The query.
    data : str or dict, optional
        The body, or the fields of a form.
    files : dict of str to (file name, text)
        Files of the form.
    document : object, optional
        A body of JSON.
    """

    path: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    data: str | dict[str, Any] | None = None
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    document: Any = None

    @property
    def method(self) -> str:
        """GET, or POST where there is a body."""
        return "GET" if self.data is None and self.document is None else "POST"

    @property
    def key(self) -> str:
        """Two requests with the same key have the same answer."""
        parts = (self.path, self.params, self.data, self.files, self.document)
        return json.dumps(parts, sort_keys=True)
