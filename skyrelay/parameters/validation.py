"""Is this configuration one that the stages can work with?"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, field
from typing import Any

from skyrelay.parameters.definition import Kind, ParameterError
from skyrelay.parameters.table import PARAMETERS


@dataclass(frozen=True)
class Validated:
    """A configuration whose known values have their types; unknown keys are kept."""

    config: dict[str, Any]
    unknown: tuple[str, ...] = field(default=())


def validate(config: dict[str, Any]) -> Validated:
    """Check every known key of ``config``.

    Unknown keys are kept as they are and named in the result: clients may keep notes there.

    Raises
    ------
    ParameterError
        For the first value that its parameter does not take.
    """
    checked: dict[str, Any] = {}
    unknown = []
    for name, value in config.items():
        parameter = PARAMETERS.get(name)
        if parameter is None:
            unknown.append(name)
            checked[name] = value
        else:
            checked[name] = parameter.check(value)
    return Validated(checked, tuple(unknown))


def unknown(name: str) -> str:
    """What to say of a name that no parameter has, with the nearest one that there is."""
    near = difflib.get_close_matches(name, PARAMETERS, n=1)
    return "no stage reads this parameter" + (f"; did you mean {near[0]}?" if near else "")


def parse_assignments(words: list[str]) -> dict[str, Any]:
    """The configuration that words like ``sn=3`` spell; a value may be JSON.

    Raises
    ------
    ParameterError
        If a word has no ``=``, a name is unknown, or a value is not allowed.
    """
    config: dict[str, Any] = {}
    for word in words:
        name, separator, text = word.partition("=")
        if not separator:
            raise ParameterError(word, "write it as name=value")
        if name not in PARAMETERS:
            raise ParameterError(name, unknown(name))
        parameter = PARAMETERS[name]
        config[name] = parameter.check(text if parameter.kind is Kind.TEXT else _value(text))
    return config


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
