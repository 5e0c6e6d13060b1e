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
#: The header of a log that says whether the step works, and may say more.
_STATE, _LIVE = "X-Log", "live"


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

    def candidates(
        self, task: int, step: str = "", order: str = "brightness"
    ) -> Iterator[dict[str, Any]]:
        """The candidates of a task, the brightest first, fetched page by page.

        Parameters
        ----------
        step : str
            Only those that it has found: simple_transients or subtraction.
        order : str
            brightness or score.
        """
        offset, limit = 0, 100
        wanted = {"order": order, **({"step": step} if step else {})}
        while True:
            page = {**wanted, "limit": limit, "offset": offset, "format": "json"}
            answer = self._json("GET", f"tasks/{task}/candidates/", params=page)
            yield from answer["results"]
            if answer["next"] is None:
                return
            offset += limit

    def light_curve(
        self, ra: float | str, dec: float | None = None, radius: float = 3.0, **filters: Any
    ) -> list[LightCurvePoint]:
        """All measurements within ``radius`` arcsec of a place, and upper limits.

        The place is two numbers in degrees, or one text: coordinates in any notation, or a name.
        """
        place = {**_place(ra, dec), "radius": radius, "format": "json", **filters}
        answer = self._json("GET", "lightcurve/", params=place)
        return [LightCurvePoint.model_validate(each) for each in answer["results"]]

    def table(self, path: str, form: str, **query: Any) -> bytes:
        """A table of the API (``results/``, ``lightcurve/``) as csv, votable or parquet."""
        return self._request("GET", path, params={**query, "format": form}).content

    def resolve(self, name: str) -> tuple[float, float]:
        """Right ascension and declination, in degrees (ICRS), of an object by its name."""
        answer = self._json("GET", "resolve/", params={"name": name})
        return float(answer["ra"]), float(answer["dec"])

    def covering(
        self,
        ra: float | str | None = None,
        dec: float | None = None,
        *,
        radius: float | None = None,
        moc: str | None = None,
        **filters: str,
    ) -> Iterator[dict[str, Any]]:
        """The tasks that cover a place, the newest first, fetched page by page.

        The place is a position as for `light_curve`, with ``radius`` (degrees) the circle around
        it, or a map of the sky; filters are those of `tasks`.
        """
        before: int | None = None
        while True:
            page: dict[str, Any] = {**filters} if before is None else {**filters, "before": before}
            answer: Mapping[str, Any]
            if moc is not None:
                answer = self._json("POST", "coverage/", params=page, json={"moc": moc})
            else:
                around = {} if radius is None else {"radius": radius}
                place = {**page, **around, **_place(ra or 0.0, dec)}
                answer = self._json("GET", "coverage/", params=place)
            yield from answer["results"]
            before = answer["next"]
            if before is None:
                return

    def sky_map(self, *, moc: bool = False, **filters: str) -> Iterator[dict[str, Any]]:
        """Where the tasks lie, with ``moc`` with coverage maps; filters are those of `tasks`."""
        before: int | None = None
        while True:
            page = {} if before is None else {"before": before}
            query = {**filters, **page, "include_moc": int(moc)}
            answer = self._json("GET", "skymap/", params=query)
            yield from answer["results"]
            before = answer["next"]
            if before is None:
                return

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
                return "", error.headers.get(_STATE) == _LIVE
            raise
        return response.text, response.headers[_STATE] == _LIVE


def _place(ra: float | str, dec: float | None) -> dict[str, Any]:
    return {"position": ra} if isinstance(ra, str) else {"ra": ra, "dec": dec}
