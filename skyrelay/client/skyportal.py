"""How does a program send what was measured to SkyPortal?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skyrelay.client.transport import Transport


class SkyPortalCalls(Transport):
    """SkyPortal, if the server knows one."""

    def instruments(self) -> list[dict[str, Any]]:
        """The imagers that SkyPortal knows: id, name."""
        return list(self._json("GET", "skyportal/instruments/"))

    def send_to_skyportal(
        self,
        tasks: Sequence[int],
        instrument: int | None = None,
        *,
        preview: bool = False,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Send the targets' photometry, or with ``preview`` look at it; how each task went.

        Without ``instrument`` it is the one that each task's ``skyportal_instrument_name`` says.
        ``options``: type (best, direct, subtracted), limit_only.
        """
        body = {"ids": list(tasks), "preview": preview, **options}
        body |= {} if instrument is None else {"instrument": instrument}
        return list(self._json("POST", "skyportal/upload/", json=body))

    def analyses(self) -> list[dict[str, Any]]:
        """The analyses that SkyPortal has asked for with our tokens, newest first."""
        return list(self._json("GET", "skyportal/analyses/"))

    def analysis(self, number: int) -> dict[str, Any]:
        """One of them, and how its answer went."""
        return dict(self._json("GET", f"skyportal/analyses/{number}/"))
