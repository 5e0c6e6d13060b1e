"""How does a program learn which filters, catalogues and templates there are?"""

from __future__ import annotations

from typing import Any

from skyrelay.client.transport import Transport


class ReferenceCalls(Transport):
    """What the values of parameters may be; nobody need be logged in for it."""

    def reference(self) -> dict[str, list[str]]:
        """The names of all filters, catalogs and templates."""
        return dict(self._json("GET", "reference/"))

    def filters(self) -> dict[str, dict[str, Any]]:
        """All filters, with their aliases."""
        return dict(self._json("GET", "reference/filters/"))

    def catalogues(self) -> dict[str, dict[str, Any]]:
        """All reference catalogues."""
        return dict(self._json("GET", "reference/catalogs/"))

    def templates(self) -> dict[str, dict[str, Any]]:
        """All surveys that templates are taken from."""
        return dict(self._json("GET", "reference/templates/"))
