"""What did the client send: JSON, a form, or a form with files?

All three look the same to the views. Values that no database can hold (NUL, half a surrogate
pair, NaN) are refused here, once.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NoReturn

from flask import request
from werkzeug.datastructures import FileStorage

from gateway.api.errors import detail, invalid
from skyrelay.parameters import ParameterError, Validated, unknown, validate

#: A configuration is some kilobytes; nobody needs megabytes of JSON, or of a form without files.
#: Both are read into memory as a whole.
_LARGEST_TEXT = 8 * 1024 * 1024
#: Lists and objects inside each other. What no database, and no reader of it, can unwind is
#: refused before it gets there.
_DEEPEST = 32
_TOO_DEEP = f"Lists and objects may lie at most {_DEEPEST} deep in each other."
_EXAMPLE = 'send an object such as {"sn": 3, "mask_cosmics": true}, with double quotes'
#: Marks, in the environment of a request, that its form may have no files.
FILES_REFUSED = "skyrelay.files_refused"
_WITH_FILES = "multipart/form-data"
_FORMS = (_WITH_FILES, "application/x-www-form-urlencoded")


class Body:
    """The fields of a request's body, whatever its form."""

    def __init__(self, fields: dict[str, Any], files: dict[str, FileStorage]) -> None:
        self.fields = fields
        self.files = files

    def __contains__(self, name: str) -> bool:
        return name in self.fields

    def text(self, name: str, longest: int) -> str:
        """The field as a text, empty if it is not there."""
        value = self.fields.get(name, "")
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise invalid(**{name: "Not a valid string."})
        if len(str(value)) > longest:
            raise invalid(**{name: f"Ensure this field has no more than {longest} characters."})
        return str(value)

    def integer(self, name: str) -> int | None:
        """The field as a whole number, None if it is not there."""
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise invalid(**{name: "A valid integer is required."})
        try:
            return int(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise invalid(**{name: "A valid integer is required."}) from error

    def flag(self, name: str) -> bool | None:
        """The field as yes or no, None if it is not there."""
        value = self.fields.get(name)
        if value is None or value == "":
            return None
        words = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
        found = value if isinstance(value, bool) else words.get(str(value).lower())
        if found is None:
            raise invalid(**{name: "Must be a valid boolean."})
        return found

    def texts(self, name: str) -> list[str]:
        """The field as a list of texts: a JSON list, or a field of a form given several times."""
        value = self.fields.get(name)
        if value is None:
            return []
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in items):
            raise invalid(**{name: "Expected a list of strings."})
        return [item for item in items if item]

    def config(self) -> dict[str, Any]:
        """The configuration, as an object or as the JSON text of one; empty if there is none.

        Raises
        ------
        BadConfig
            If it is neither.
        """
        value = self.fields.get("config")
        if value is None or value == "":
            return {}
        if isinstance(value, str):
            try:
                value = _parse_json(value)
            except ValueError as error:
                raise BadConfig("Cannot parse config as JSON", _EXAMPLE) from error
        if not isinstance(value, dict):
            raise BadConfig("config must be a JSON object", _EXAMPLE)
        return value


def parse_moment(name: str, text: str) -> datetime:
    """A moment in ISO 8601, in UTC where it does not say.

    Raises
    ------
    ApiError
        400, about the field ``name``, if it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise invalid(**{name: "Write a moment such as 2030-01-31T12:00:00Z."}) from error


class BadConfig(Exception):
    """The configuration cannot be read: a short sentence for all, and what to do about it."""

    def __init__(self, sentence: str, advice: str = "") -> None:
        super().__init__(f"{sentence}: {advice}" if advice else sentence)
        self.sentence = sentence
        self.advice = advice


def read_body(*, json_too: bool = True, files_too: bool = True, largest: int | None = None) -> Body:
    """The body of the present request, of at most ``largest`` bytes where that is given.

    Raises
    ------
    ApiError
        400 if it cannot be parsed, 415 if it is of a kind that is not taken here.
    RequestEntityTooLarge
        If it is too large.
    """
    if largest is not None:
        request.max_content_length = largest
    request.environ[FILES_REFUSED] = not files_too
    if request.mimetype in _FORMS:
        if request.mimetype != _WITH_FILES:
            _bound_text()
        # A field that is given several times is a list, as in JSON.
        fields = {
            name: values[0] if len(values) == 1 else values for name, values in request.form.lists()
        }
        _check_storable(fields)
        return Body(fields, dict(request.files.items()))
    if request.mimetype in ("application/json", "") and json_too:
        return Body(_read_json(), {})
    if not request.content_length and not json_too:
        return Body({}, {})
    raise detail(415, f'Unsupported media type "{request.mimetype}" in request.')


def checked_config(config: dict[str, Any]) -> Validated:
    """The configuration with its values checked.

    Raises
    ------
    ParameterError
        For the first value that its parameter does not take.
    """
    return validate(config)


def warnings_of(validated: Validated) -> dict[str, list[str]]:
    """What to add to an answer about keys of the configuration that no stage knows."""
    if not validated.unknown:
        return {}
    return {"warnings": [f"{name}: {unknown(name)}" for name in validated.unknown]}


def field_config(body: Body) -> Validated:
    """The checked configuration; what is wrong with it is said of the field ``config``."""
    try:
        return checked_config(body.config())
    except (BadConfig, ParameterError) as error:
        raise invalid(config=str(error)) from error


def _bound_text() -> None:
    request.max_content_length = min(request.max_content_length or _LARGEST_TEXT, _LARGEST_TEXT)


def _read_json() -> dict[str, Any]:
    _bound_text()
    content = request.get_data()
    if not content:
        return {}
    try:
        fields = _parse_json(content.decode("utf-8"))
    except ValueError as error:
        raise detail(400, f"JSON parse error - {error}") from error
    if not isinstance(fields, dict):
        raise detail(400, "Invalid data. Expected an object.")
    return fields


def _parse_json(text: str) -> Any:
    """Raises ValueError for what is no plain JSON, ApiError for what cannot be stored."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise detail(400, _TOO_DEEP) from error
    _check_storable(value)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_storable(value: Any, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise detail(400, _TOO_DEEP)
    if isinstance(value, str):
        if "\x00" in value:
            raise detail(400, "Null characters are not allowed.")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise detail(400, "The text has half a surrogate pair in it.") from error
    elif isinstance(value, float) and value in (float("inf"), float("-inf")):
        raise detail(400, "A number is too large.")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_storable(key)
            _check_storable(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_storable(item, depth + 1)
