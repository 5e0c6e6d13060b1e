"""What are the parameters in paths: the numbers and names between the slashes?"""

from __future__ import annotations

from typing import Any

from werkzeug.routing import Rule

#: By their name in the routes: what each is, with an example. A new one is added here.
_KNOWN: dict[str, tuple[str, Any]] = {
    "task_id": ("Number of the task.", 42),
    "preset_id": ("Number of the preset.", 3),
    "user_id": ("Number of the user.", 7),
    "group_id": ("Number of the group.", 7),
    "token_id": ("Number of the token.", 7),
    "webhook_id": ("Number of the webhook.", 5),
    "delivery_id": ("Number of the delivery.", 11),
    "analysis_id": ("Number of the analysis.", 4),
    "intake_id": ("Number of the batch, or of the watched folder.", 2),
    "run_id": ("Id of the run.", "0b7a5e3e-0a53-4d3f-9a8e-5b0c1c6f2f11"),
    "of": ("image, or template.", "image"),
    "step": ("Name of the step.", "photometry"),
    "letter_id": ("Number of the dead letter.", 7),
    "celery_id": ("Id of the run.", "0b7a5e3e-0a53-4d3f-9a8e-5b0c1c6f2f11"),
    "path": ("Path of a file below the folder; it may contain slashes.", "image.fits"),
}
_TYPES: dict[str, dict[str, Any]] = {
    "IntegerConverter": {"type": "integer", "minimum": 0},
    "UnicodeConverter": {"type": "string", "minLength": 1},
    "PathConverter": {"type": "string", "minLength": 1},
}


def path_of(rule: Rule) -> str:
    """The route as OpenAPI writes it."""
    parts = [(dynamic, part) for dynamic, part in rule._trace if part != "|"]
    return "".join(f"{{{part}}}" if dynamic else part for dynamic, part in parts)


def path_parameters(rule: Rule) -> list[dict[str, Any]]:
    """The parameters in the path of a route."""
    found = []
    for name in sorted(rule.arguments):
        description, example = _KNOWN[name]
        found.append(
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": description,
                "schema": _TYPES[type(rule._converters[name]).__name__],
                "example": example,
            }
        )
    return found
