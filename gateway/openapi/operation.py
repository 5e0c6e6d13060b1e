"""How does a view say what it takes, what it answers, and what it refuses?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

#: A field of a multipart body that is a file.
File = Annotated[
    str, Field(json_schema_extra={"contentMediaType": "application/octet-stream"}, examples=["..."])
]

_View = TypeVar("_View", bound=Callable[..., Any])
_OPERATION = "_operation"


@dataclass(frozen=True)
class Answer:
    """One answer of a view.

    Attributes
    ----------
    type : type, optional
        What its JSON looks like: a `TypedDict`, or a list of one; None if it is no JSON.
    description : str
        What it means; the phrase of its status, if empty.
    media_types : tuple of str
        Of what kind it may be; empty if it has no body.
    example : object
        Where it is no JSON. The examples of JSON come from the fields of its type.
    headers : tuple of str
        Those that do not go without saying; `gateway.openapi.headers` knows them.
    """

    type: Any = None
    description: str = ""
    media_types: tuple[str, ...] = (JSON,)
    example: Any = None
    headers: tuple[str, ...] = ()


#: The answer 204.
NOTHING = Answer(media_types=())


def media(
    *media_types: str, description: str = "", example: Any = None, headers: tuple[str, ...] = ()
) -> Answer:
    """An answer that is no JSON."""
    return Answer(None, description, media_types, example, headers)


@dataclass(frozen=True)
class Operation:
    """What is said of a view; its docstring is the rest."""

    answers: Mapping[int, Answer]
    query: Any
    body: Any
    kinds: tuple[str, ...]
    errors: frozenset[int]
    headers: tuple[str, ...]


def documented(
    answers: Mapping[int, Any],
    *,
    query: Any = None,
    body: Any = None,
    kinds: Iterable[str] = (JSON, FORM, MULTIPART),
    errors: Iterable[int] = (),
    headers: Iterable[str] = (),
) -> Callable[[_View], _View]:
    """Describe a view.

    Parameters
    ----------
    answers : mapping of int to type or Answer
        The successes by their status; a type is that of a JSON answer.
    query, body : TypedDict, optional
        What may stand in the query, and in the body; every field with an example.
    kinds : iterable of str
        The media types in which the body may come.
    errors : iterable of int
        The refusals that do not go without saying; `gateway.openapi.document` adds the others.
    headers : iterable of str
        Those that a request may have and that do not go without saying; `gateway.openapi.headers`
        adds the others.
    """

    def describe(view: _View) -> _View:
        operation = Operation(
            {
                status: answer if isinstance(answer, Answer) else Answer(answer)
                for status, answer in answers.items()
            },
            query,
            body,
            tuple(kinds),
            frozenset(errors),
            tuple(headers),
        )
        setattr(view, _OPERATION, operation)
        return view

    return describe


def operation_of(view: Callable[..., Any]) -> Operation | None:
    """What is said of this view, if anything is."""
    found: Operation | None = getattr(view, _OPERATION, None)
    return found
