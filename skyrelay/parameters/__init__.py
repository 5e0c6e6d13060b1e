"""Every parameter of a task, once: what it is called, what it may be, what it means.

The API's validation, the command line, the forms and ``docs/parameters.md`` are made from it.
"""

from skyrelay.parameters.definition import Parameter, ParameterError
from skyrelay.parameters.table import PARAMETERS, default_of, parameter
from skyrelay.parameters.validation import Validated, parse_assignments, unknown, validate

__all__ = [
    "PARAMETERS",
    "Parameter",
    "ParameterError",
    "Validated",
    "default_of",
    "parameter",
    "parse_assignments",
    "unknown",
    "validate",
]
