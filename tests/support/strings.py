"""Where in a request to the API may a text stand? Asked of the API's own description."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

#: Headers that every route may get.
_EVERYWHERE = ("X-Forwarded-For", "Accept", "Idempotency-Key", "Range", "If-None-Match")
_JSON = "application/json"
#: A number of nothing that there is.
_NOTHING = 4711
#: Parameters of a task whose text becomes a path, a name to be looked up, or a date.
_PARAMETERS = ("target", "time", "filter", "cat_file", "cat_name", "template", "stack_filenames")

Where = Literal["path", "query", "header", "body", "file", "config"]


@dataclass(frozen=True)
class Place:
    """A place for a text in the requests of one operation; of headers, all together."""

    method: str
    path: str
    where: Where
    name: str
    kind: str
    schema: Mapping[str, Any]
    required: Mapping[str, Any]
    numbers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.where} {self.name}"

    def request(self, text: str, ids: Mapping[str, int]) -> tuple[str, dict[str, Any]]:
        """Path below ``/api/``, and options of the test client, with the text at this place."""
        plain = text.encode("utf-8", "replace").decode()
        values = {name: str(ids.get(name, _NOTHING)) for name in self.numbers}
        if self.where == "path":
            values[self.name] = quote(plain, safe="")
        path = self.path
        for name in self._others():
            values.setdefault(name, "image.fits")
        for name, value in values.items():
            path = path.replace(f"{{{name}}}", value)
        return path.removeprefix("/api/"), self._options(text, plain)

    def _others(self) -> list[str]:
        return [part.partition("}")[0] for part in self.path.split("{")[1:]]

    def _options(self, text: str, plain: str) -> dict[str, Any]:
        if self.where == "query":
            return {"query_string": {**self.required, self.name: plain}}
        if self.where == "header":
            # What cannot be sent is no danger: the client itself refuses it.
            sent = "".join(each for each in plain if " " <= each <= "~")
            return {"headers": dict.fromkeys(self.name.split(), sent)}
        if self.where == "file":
            name = "".join(each for each in plain if each not in "\r\n\0") or "a"
            return {"data": {**self.required, self.name: (io.BytesIO(b"a"), name)}}
        if self.where == "config":
            value = [text, text] if self.name == "stack_filenames" else text
            return self._body({"config": {self.name: value}})
        if self.where == "body":
            # Only JSON can bring what no encoding has.
            return self._body({self.name: self._value(text if self.kind == _JSON else plain)})
        return {}

    def _value(self, text: str) -> Any:
        kinds = _kinds(self.schema)
        if "array" in kinds:
            return [text]
        return {text: text} if "object" in kinds else text

    def _body(self, fields: dict[str, Any]) -> dict[str, Any]:
        if self.kind == _JSON:
            return {"json": {**self.required, **fields}}
        return {"data": {**self.required, **fields}}


def places(document: Mapping[str, Any]) -> Iterator[Place]:
    """All places for a text in the requests of all operations of the API."""
    for path, operations in document["paths"].items():
        if path.startswith("/api/"):
            for method, operation in operations.items():
                yield from _of_operation(document, method.upper(), path, operation)


def _of_operation(
    document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]
) -> Iterator[Place]:
    parameters = operation["parameters"]
    numbers = tuple(
        each["name"]
        for each in parameters
        if each["in"] == "path" and each["schema"].get("type") == "integer"
    )
    query = {
        each["name"]: each["example"]
        for each in parameters
        if each["in"] == "query" and each["required"]
    }

    def place(where: Where, name: str, schema: Any, required: Any, kind: str = "") -> Place:
        return Place(method, path, where, name, kind, schema, required, numbers)

    for each in parameters:
        if each["in"] in ("path", "query") and each["name"] not in numbers:
            yield place(each["in"], each["name"], each["schema"], query)
    if method != "DELETE":
        own = [each["name"] for each in parameters if each["in"] == "header"]
        yield place("header", " ".join(dict.fromkeys([*own, *_EVERYWHERE])), {}, query)
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        return
    kind = _JSON if _JSON in content else next(iter(content))
    schema = _resolved(document, content[kind]["schema"])
    example = content[kind]["example"]
    fields = {name: _resolved(document, each) for name, each in schema["properties"].items()}
    files = [name for name, each in fields.items() if "contentMediaType" in each]
    required = {name: example[name] for name in schema.get("required", ()) if name not in files}
    for name, each in fields.items():
        if name not in files:
            yield place("body", name, each, required, kind)
    for name in files:
        yield place("file", name, {}, required)
    if "config" in fields:
        for name in _PARAMETERS:
            yield place("config", name, {}, required, kind)


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """Names of the types that a value of the schema may have."""
    found = schema.get("type", [])
    kinds = set(found if isinstance(found, list) else [found])
    for each in schema.get("anyOf", ()):
        kinds |= _kinds(each)
    return kinds
