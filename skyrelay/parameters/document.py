"""What does the reference of all parameters look like?"""

from __future__ import annotations

import json
from collections.abc import Iterator

from skyrelay.parameters.definition import Parameter
from skyrelay.parameters.table import PARAMETERS
from skyrelay.stages import STAGES

_HEAD = """# Parameters

Made from `skyrelay/parameters/table.py` by `make docs`; do not edit by hand.

These are the keys of a task's `config`. A key that is missing, `null` or empty has its default;
where there is no default, the value is found out from the image. A value of the wrong type or out
of range is refused with 400; a key that is not listed here is kept and named in a warning.
"""


def as_markdown() -> str:
    """The reference of all parameters as one Markdown page."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    groups = [("The task as a whole", [each for each in _set_by_user() if not each.steps])]
    for stage in STAGES:
        groups.append((stage.title, [each for each in _set_by_user() if stage.step in each.steps]))
    groups.append(("Measured by the stages", [p for p in PARAMETERS.values() if p.measured]))
    for title, parameters in filter(lambda group: group[1], groups):
        yield f"## {title}\n"
        yield "| parameter | takes | default | meaning |\n|---|---|---|---|"
        yield from (_row(each) for each in parameters)
        yield ""


def _set_by_user() -> list[Parameter]:
    return [each for each in PARAMETERS.values() if not each.measured]


def _row(each: Parameter) -> str:
    default = "" if each.default is None else f"`{json.dumps(each.default)}`"
    return f"| `{each.name}` | {each.allowed()} | {default} | {each.help} |"
