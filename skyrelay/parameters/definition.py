"""What is a parameter, and which values does it take?"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any


class ParameterError(ValueError):
    """A value that a parameter does not take. The message names parameter, value and choices."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


class Kind(Enum):
    """The type of a parameter's value, and how it is called in an error message."""

    FLOAT = "a number"
    INTEGER = "a whole number"
    BOOLEAN = "true or false"
    TEXT = "a text"
    TEXTS = "a list of texts"
    INTEGERS = "a list of whole numbers"
    OBJECT = "an object"
    OPTIONS = "an object of option names with numbers or lists of numbers"
    OBJECTS = "a list of objects"


_OPTION_NAME = re.compile(r"[a-zA-Z]{1,12}")
_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One key of a task's configuration.

    Attributes
    ----------
    steps : tuple of str
        Processing steps that read it; empty for those of the task as a whole.
    default : object
        Value where the configuration has none. None: found out from the image.
    minimum, maximum : float or None
        Inclusive range of a number.
    measured : bool
        Set by a stage; clients may read it and need not write it.
    """

    name: str
    kind: Kind
    help: str
    steps: tuple[str, ...] = ()
    default: Any = None
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    measured: bool = False

    def allowed(self) -> str:
        """What the parameter takes, in words."""
        words = self.kind.value
        if self.choices:
            words = "one of " + ", ".join(self.choices)
        elif self.minimum is not None and self.maximum is not None:
            words += f" from {self.minimum:g} to {self.maximum:g}"
        elif self.minimum is not None:
            words += f", at least {self.minimum:g}"
        elif self.maximum is not None:
            words += f", at most {self.maximum:g}"
        return words + (f" ({self.unit})" if self.unit else "")

    def check(self, value: Any) -> Any:
        """The value in the parameter's type; None, and an empty text, stand for "not set".

        Raises
        ------
        ParameterError
            If the value is of another type or out of range.
        """
        if value is None or value == "":
            return None
        converted = self._convert(value)
        self._check_range(value, converted)
        return converted

    def _refuse(self, value: Any) -> ParameterError:
        shown = repr(value)
        if len(shown) > 60:
            shown = shown[:57] + "..."
        return ParameterError(self.name, f"{shown} is not allowed; it takes {self.allowed()}")

    def _convert(self, value: Any) -> Any:
        converters = {
            Kind.FLOAT: self._to_float,
            Kind.INTEGER: self._to_integer,
            Kind.BOOLEAN: self._to_boolean,
            Kind.TEXT: self._to_text,
            Kind.TEXTS: self._to_texts,
            Kind.INTEGERS: self._to_integers,
            Kind.OBJECT: self._to_object,
            Kind.OBJECTS: self._to_objects,
            Kind.OPTIONS: self._to_options,
        }
        return converters[self.kind](value)

    def _to_float(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self._refuse(value)
        try:
            number = float(value)
        except (ValueError, OverflowError) as error:
            raise self._refuse(value) from error
        if not math.isfinite(number):
            raise self._refuse(value)
        return number

    def _to_integer(self, value: Any) -> int:
        number = self._to_float(value)
        if number != int(number):
            raise self._refuse(value)
        return int(number)

    def _to_boolean(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower() if isinstance(value, int | str) else ""
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise self._refuse(value)

    def _to_text(self, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self._refuse(value)
        text = str(value)
        if "\x00" in text:
            raise self._refuse(value)
        return text

    def _to_texts(self, value: Any) -> list[str]:
        items = value.splitlines() if isinstance(value, str) else value
        if not isinstance(items, list):
            raise self._refuse(value)
        return [self._to_text(item) for item in items]

    def _to_integers(self, value: Any) -> list[int]:
        items = value.replace(",", " ").split() if isinstance(value, str) else value
        if isinstance(items, int) and not isinstance(items, bool):
            items = [items]
        if not isinstance(items, list):
            raise self._refuse(value)
        return [self._to_integer(item) for item in items]

    def _to_object(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._refuse(value)
        return value

    def _to_options(self, value: Any) -> dict[str, Any]:
        """Nothing that could be anything else than an option in the command line of a program."""
        options = self._to_object(value)
        for name, setting in options.items():
            if not _OPTION_NAME.fullmatch(name):
                raise self._refuse(value)
            for number in setting if isinstance(setting, list) else [setting]:
                if not isinstance(number, bool):
                    self._to_number(value, number)
        return options

    def _to_number(self, value: Any, number: Any) -> None:
        try:
            finite = isinstance(number, int | float) and math.isfinite(number)
        except OverflowError:
            finite = False
        if not finite:
            raise self._refuse(value)

    def _to_objects(self, value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, list):
            raise self._refuse(value)
        return [self._to_object(item) for item in value]

    def _check_range(self, value: Any, converted: Any) -> None:
        if self.choices and converted not in self.choices:
            raise self._refuse(value)
        numbers = converted if self.kind is Kind.INTEGERS else [converted]
        for number in numbers:
            if self.minimum is not None and number < self.minimum:
                raise self._refuse(value)
            if self.maximum is not None and number > self.maximum:
                raise self._refuse(value)
