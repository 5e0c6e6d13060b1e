"""Which parameters does somebody give at the command line, one by one or in a file?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from skyrelay.parameters import ParameterError, parse_assignments, unknown, validate

#: The option for one parameter; it may be given several times.
assignments_option = click.option(
    "-c", "--config", "assignments", multiple=True, metavar="KEY=VALUE", help="A parameter."
)


def parsed(assignments: Sequence[str]) -> dict[str, Any]:
    """The configuration that words like ``sn=3`` spell; a slip ends the command."""
    try:
        return parse_assignments(list(assignments))
    except ParameterError as error:
        raise click.UsageError(str(error)) from error


def read_preset(path: Path) -> dict[str, Any]:
    """The configuration in a file of JSON; what no stage reads is named and kept."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise click.UsageError(f"{path} holds no object with parameters.")
        validated = validate(content)
    except ParameterError as error:
        raise click.UsageError(str(error)) from error
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{path} cannot be read as JSON: {error}.") from error
    for name in validated.unknown:
        click.echo(f"Warning: {path}: {name}: {unknown(name)}.", err=True)
    return validated.config
