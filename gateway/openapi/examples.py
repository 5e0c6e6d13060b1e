"""What would a value of a schema look like?"""

from __future__ import annotations

from typing import Any


class NoExample(ValueError):
    """A field has no example."""


def example_of(schema: dict[str, Any], components: dict[str, Any]) -> Any:
    """A value of the schema, put together from the examples of its fields.

    Raises
    ------
    NoExample
        If a field has none: names it.
    """
    if "$ref" in schema:
        return example_of(components[schema["$ref"].rpartition("/")[2]], components)
    for keyword in ("example", "const", "default"):
        if keyword in schema:
            return schema[keyword]
    for keyword in ("examples", "enum"):
        if schema.get(keyword):
            return schema[keyword][0]
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return example_of(schema[keyword][0], components)
    if schema.get("type") == "array":
        return [example_of(schema["items"], components)]
    if "properties" in schema:
        return {
            name: _example_of_field(name, field, components)
            for name, field in schema["properties"].items()
        }
    raise NoExample(schema.get("title", ""))


def _example_of_field(name: str, schema: dict[str, Any], components: dict[str, Any]) -> Any:
    try:
        return example_of(schema, components)
    except NoExample as error:
        raise NoExample(f"{name}.{error}".rstrip(".")) from error
