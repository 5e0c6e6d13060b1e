"""How is SkyPortal asked, and told?"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import requests

from skyrelay.settings import Settings

#: Seconds for a connection, and for each answer.
_PATIENCE = (5, 20)
#: Radii of the cone in which a source is looked for, in degrees: the nearest position that has one
#: is taken. Those of STDWeb: 10", 30", 1', 10', 30'.
RADII = (10 / 3600, 30 / 3600, 1 / 60, 10 / 60, 30 / 60)


class SkyPortalError(Exception):
    """SkyPortal does not answer, or refuses: says what it said."""


class SkyPortal:
    """SkyPortal at the address, with the token, and for the group of the settings.

    Its methods raise `SkyPortalError`.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = settings.skyportal_base_url.rstrip("/")
        self._group = settings.skyportal_group_id
        self._session = requests.Session()
        # Only the token of the settings is to be sent, whatever a .netrc says.
        self._session.trust_env = False
        token = settings.skyportal_token.get_secret_value()
        if token:
            self._session.headers["Authorization"] = f"token {token}"

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def instruments(self) -> list[dict[str, Any]]:
        """Id and name of each imager, by name."""
        found = self._ask("GET", "instrument")
        imagers = [
            {"id": each["id"], "name": each["name"]}
            for each in found
            if each.get("type", "imager") == "imager"
        ]
        return sorted(imagers, key=lambda each: str(each["name"]))

    def source_at(self, ra: float, dec: float) -> str:
        """The id of the source at, or around, a position in degrees."""
        for radius in RADII:
            query = {"ra": ra, "dec": dec, "radius": radius, "group_ids": self._group}
            sources = self._ask("GET", "sources", params=query)["sources"]
            if sources:
                return str(sources[0]["id"])
        raise SkyPortalError(f"SkyPortal has no source within 30' of RA={ra:.4f} Dec={dec:.4f}.")

    def position_of(self, source: str) -> tuple[float, float]:
        """Right ascension and declination of a source in degrees."""
        found = self._ask("GET", f"sources/{quote(source, safe='')}")
        try:
            return float(found["ra"]), float(found["dec"])
        except (KeyError, TypeError, ValueError) as error:
            raise SkyPortalError(f"SkyPortal gives no position of {source}.") from error

    def put_photometry(self, photometry: dict[str, Any]) -> None:
        """Store a measurement; the same one again changes nothing."""
        self._ask("PUT", "photometry", json=photometry | {"group_ids": [self._group]})

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        try:
            answer = self._session.request(
                method, f"{self._url}/api/{path}", timeout=_PATIENCE, allow_redirects=False, **more
            )
            content = answer.json()
            if not answer.ok or content["status"] != "success":
                sentence = str(content.get("message", answer.status_code))[:500]
                raise SkyPortalError(f"SkyPortal refuses: {sentence}")
            return content.get("data")
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise SkyPortalError("SkyPortal does not answer as it should.") from error
