"""The description of the API as OpenAPI 3.1, made from what stands at each view.

A view says with `documented` what it takes and answers, in types; the document follows from
these, from the routes and from the docstrings. Libraries for this (apispec, spectree,
flask-openapi3) either want all of it written again as YAML or marshmallow, or take over the
parsing of requests, with bodies and status codes that are not STDWeb's.
"""

from gateway.openapi.operation import (
    FORM,
    JSON,
    MULTIPART,
    NOTHING,
    Answer,
    File,
    documented,
    media,
)

__all__ = ["FORM", "JSON", "MULTIPART", "NOTHING", "Answer", "File", "documented", "media"]
