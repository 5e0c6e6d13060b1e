"""How does a user send what was measured to SkyPortal?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Annotated, Any, Literal, NotRequired

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway.api.access import get_task
from gateway.api.auditing import remember_request
from gateway.api.auth import current_user
from gateway.api.body import read_body
from gateway.api.errors import ApiError, detail, invalid, not_found, refused
from gateway.api.task_numbers import task_numbers
from gateway.current import gateway
from gateway.openapi import documented
from gateway.permissions import Right
from gateway.skyportal.client import SkyPortal, SkyPortalError
from gateway.skyportal.measurement import TABLES, photometry_of
from skyrelay.errors import Permanent

blueprint = Blueprint("skyportal", __name__, url_prefix="/skyportal")

#: Tasks in one request: each of them takes up to six questions to SkyPortal.
_MOST_TASKS = 50
_YES = (True, 1, "1", "true", "on")


class _Instrument(TypedDict):
    id: Annotated[int, Field(examples=[7])]
    name: Annotated[str, Field(examples=["Generic Instrument"])]


class _Upload(TypedDict):
    ids: Annotated[str, Field(description="Numbers of tasks.", examples=["1,2 5-7"])]
    instrument: NotRequired[
        Annotated[
            int,
            Field(
                description="Its id at SkyPortal; else as `skyportal_instrument_name` says.",
                examples=[7],
            ),
        ]
    ]
    type: NotRequired[Annotated[Literal["best", "direct", "subtracted"], Field(examples=["best"])]]
    limit_only: NotRequired[Annotated[bool, Field(examples=[False])]]
    preview: NotRequired[Annotated[bool, Field(description="Send nothing.", examples=[True])]]


class _Uploaded(TypedDict):
    id: Annotated[int, Field(examples=[42])]
    status: Annotated[Literal["success", "preview", "error"], Field(examples=["success"])]
    error: NotRequired[Annotated[str, Field(examples=["The time of the image is not known."])]]
    photometry: NotRequired[
        Annotated[dict[str, Any], Field(examples=[{"obj_id": "SN2026abc", "mag": 18.2}])]
    ]


@blueprint.get("/instruments/")
@documented({200: list[_Instrument]}, errors=(403, 404, 502))
def list_instruments() -> ResponseReturnValue:
    """The imagers that SkyPortal knows."""
    with _portal() as portal:
        try:
            return jsonify(portal.instruments())
        except SkyPortalError as error:
            raise refused(502, str(error)) from error


@blueprint.post("/upload/")
@documented({200: list[_Uploaded]}, body=_Upload, errors=(404,))
def upload() -> ResponseReturnValue:
    """Send the photometry of the targets of tasks to SkyPortal, or look at what would be sent.

    What is wrong with one task does not keep the others.
    """
    with _portal() as portal:
        body = read_body(files_too=False)
        ids, instrument = task_numbers(body, _MOST_TASKS), body.integer("instrument")
        kind = body.text("type", 20) or "best"
        if kind not in TABLES:
            raise invalid(type=f"Must be one of {', '.join(TABLES)}.")
        instruments = _Instruments(portal, instrument)
        limit_only = body.fields.get("limit_only") in _YES
        preview = body.fields.get("preview") in _YES
        answers = []
        for number in ids:
            try:
                found = _photometry(portal, number, kind, instruments, limit_only=limit_only)
                if not preview:
                    portal.put_photometry(found)
                    _remember(number, found)
            except (Permanent, SkyPortalError) as error:
                answers.append({"id": number, "status": "error", "error": str(error)})
                continue
            except ApiError as error:
                answers.append({"id": number, "status": "error", "error": error.sentence})
                continue
            status = "preview" if preview else "success"
            answers.append({"id": number, "status": status, "photometry": found})
    return jsonify(answers)


def _photometry(
    portal: SkyPortal, number: int, kind: str, instruments: _Instruments, *, limit_only: bool
) -> dict[str, Any]:
    with gateway().database.reading() as session:
        config = get_task(session, number, Right.VIEW).config
    instrument = instruments.of(config)
    try:
        found = gateway().store.read_version(
            number,
            lambda folder: photometry_of(number, folder, config, kind, limit_only=limit_only),
            TABLES[kind],
        )
    except FileNotFoundError:
        raise not_found() from None
    source = portal.source_at(found["ra"], found["dec"])
    return {"obj_id": source, **found, "instrument_id": instrument}


class _Instruments:
    """Which instrument a task's photometry is from: the one of the request, or as the task says."""

    def __init__(self, portal: SkyPortal, given: int | None) -> None:
        self._portal, self._given = portal, given

    def of(self, config: dict[str, Any]) -> int:
        """Its id at SkyPortal.

        Raises
        ------
        Permanent
            If neither says one that SkyPortal knows.
        """
        if self._given is not None:
            return self._given
        name = config.get("skyportal_instrument_name")
        if not name:
            raise Permanent("Name an instrument, or set skyportal_instrument_name of the task.")
        if name not in self._ids:
            raise Permanent(f"SkyPortal knows no imager {name}.")
        return self._ids[name]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {each["name"]: each["id"] for each in self._portal.instruments()}


def _remember(number: int, sent: dict[str, Any]) -> None:
    """At once: whatever happens to the rest of the request, this is at SkyPortal."""
    about = {"source": sent["obj_id"], "instrument": sent["instrument_id"]}
    with gateway().database.writing() as session:
        remember_request(session, "skyportal_upload", task_id=number, **about)


@contextmanager
def _portal() -> Iterator[SkyPortal]:
    user = current_user()
    if not (user.is_staff or user.skyportal_upload):
        raise refused(403, "Permission denied")
    if not gateway().settings.skyportal_base_url:
        raise detail(404, "No SkyPortal is known here: SKYPORTAL_BASE_URL is not set.")
    portal = SkyPortal(gateway().settings)
    try:
        yield portal
    finally:
        portal.close()
