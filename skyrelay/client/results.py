"""How does a program read what was measured: in a task, and at a place on the sky?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from skyrelay.client.answers import LightCurvePoint, Results
from skyrelay.client.errors import RequestRefused
from skyrelay.client.transport import Transport

#: Status of an answer to a range that begins where the file ends.
_NOTHING_MORE = 416


class ResultCalls(Transport):
    """What was measured."""

    def results(self, task: int) -> Results:
        """All that was measured in a task."""
        return Results.model_validate(self._json("GET", f"tasks/{task}/results/"))

    def all_results(self, of: str = "images", **filters: Any) -> Iterator[dict[str, Any]]:
        """Rows of all tasks that we may see, fetched page by page.

        Parameters
        ----------
        of : str
            What a row is about: images, targets or candidates.
        **filters
            Those of ``GET /api/results/``: filter, after, before, deeper_than, user, ...
        """
        offset, limit = 0, 100
        while True:
            page = {**filters, "of": of, "limit": limit, "offset": offset, "format": "json"}
            answer = self._json("GET", "results/", params=page)
            yield from answer["results"]
            if answer["next"] is None:
                return
            # A page has fewer tasks than asked for where they have many rows.
            offset = int(parse_qs(urlsplit(answer["next"]).query)["offset"][0])

    def light_curve(
        self, ra: float, dec: float, radius: float = 3.0, **filters: Any
    ) -> list[LightCurvePoint]:
        """All measurements within ``radius`` arcsec of a position (degrees), and upper limits."""
        place = {"ra": ra, "dec": dec, "radius": radius, "format": "json", **filters}
        answer = self._json("GET", "lightcurve/", params=place)
        return [LightCurvePoint.model_validate(each) for each in answer["results"]]

    def table(self, path: str, form: str, **query: Any) -> bytes:
        """A table of the API (``results/``, ``lightcurve/``) as csv, votable or parquet."""
        return self._request("GET", path, params={**query, "format": form}).content

    def covering(
        self, ra: float | None = None, dec: float | None = None, *, moc: str | None = None
    ) -> list[dict[str, Any]]:
        """The tasks that cover a position (degrees), or something of a map; the newest first."""
        answer: Mapping[str, Any]
        if moc is not None:
            answer = self._json("POST", "coverage/", json={"moc": moc})
        else:
            answer = self._json("GET", "coverage/", params={"ra": ra, "dec": dec})
        return list(answer["results"])

    def provenance(self, task: int) -> list[dict[str, Any]]:
        """Of each product of a task: its checksum, and the attempt that has made it."""
        return list(self._json("GET", f"tasks/{task}/provenance/"))

    def origin(self, task: int, path: str) -> dict[str, Any]:
        """How a product came to be: attempt, checksum, software with versions, parameters."""
        return dict(self._json("GET", f"tasks/{task}/provenance/{quote(path)}"))

    def log(self, task: int, step: str, start: int = 0) -> tuple[str, bool]:
        """What a step has said from byte ``start`` on, and whether it may still say more."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            response = self._request("GET", f"tasks/{task}/logs/{step}/", headers=headers)
        except RequestRefused as error:
            if error.status == _NOTHING_MORE:
                return "", True
            raise
        return response.text, response.headers["X-Log"] == "live"
