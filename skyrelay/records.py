"""What is kept of an attempt after it has ended?

The record travels from the stage to the gateway through the store, not through the broker.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from skyrelay.messages import Outcome


class Value(BaseModel):
    """A measured value with its unit and one-sigma uncertainty."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null")

    value: float | int | str | bool | None
    error: float | None = None
    unit: str = ""
    doc: str = ""


class SkyField(BaseModel):
    """Where on the sky the image lies: centre and radius in degrees (ICRS), coverage as MOC."""

    model_config = ConfigDict(frozen=True)

    ra: float
    dec: float
    radius: float
    pixel_scale: float | None = None
    moc: str | None = None


class Product(BaseModel):
    """A file that an attempt has made: its size in bytes and the SHA-256 of its content."""

    model_config = ConfigDict(frozen=True)

    size: int
    sha256: str


class AttemptRecord(BaseModel):
    """How an attempt of a stage ended and what it found out.

    ``config`` is the whole configuration of the task after the stage; ``field`` is None where
    the stage has nothing to say about the position on the sky. ``parts`` is the number of parts
    that the attempt has split its stage into; 0 if its result is whole.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null")

    run: str
    index: int
    step: str
    part: int = 0
    attempt: int
    parts: int = 0
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    started: datetime
    finished: datetime
    config: dict[str, Any]
    field: SkyField | None = None
    values: dict[str, Value] = {}
    software: dict[str, str] = {}
    products: dict[str, Product] = {}
