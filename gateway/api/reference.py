"""Which filters, catalogues and templates may a configuration name?"""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from gateway.api.auth import open_to_all
from gateway.api.schemas import exact
from gateway.openapi import documented
from skyrelay.sky.filters import FILTERS
from skyrelay.sky.surveys import CATALOGUES, HIPS, ORIGINALS

blueprint = Blueprint("reference", __name__, url_prefix="/reference")

_Names = Annotated[list[str], Field(examples=[["g", "r"]])]


@exact
class Reference(TypedDict):
    """The names of all that there is."""

    filters: _Names
    catalogs: Annotated[list[str], Field(examples=[["ps1", "gaiaedr3"]])]
    templates: Annotated[list[str], Field(examples=[["custom", "ps1"]])]


@exact
class FilterEntry(TypedDict):
    """A filter; its aliases are in lower case, without punctuation."""

    name: Annotated[str, Field(examples=["Sloan-like r"])]
    aliases: Annotated[list[str], Field(examples=[["sdssr", "rp"]])]


@exact
class CatalogueEntry(TypedDict):
    """A catalogue; ``limit`` is the magnitude that `cat_limit` is applied to."""

    name: Annotated[str, Field(examples=["Pan-STARRS DR1"])]
    filters: _Names
    limit: Annotated[str, Field(examples=["rmag"])]


@exact
class TemplateEntry(TypedDict):
    """Where templates come from; the custom one has no filters of its own."""

    name: Annotated[str, Field(examples=["Pan-STARRS"])]
    filters: NotRequired[_Names]


_Filters = Annotated[
    dict[str, FilterEntry], Field(examples=[{"r": {"name": "Sloan-like r", "aliases": ["rp"]}}])
]
_Catalogues = Annotated[
    dict[str, CatalogueEntry],
    Field(examples=[{"ps1": {"name": "Pan-STARRS DR1", "filters": ["g"], "limit": "rmag"}}]),
]
_Templates = Annotated[
    dict[str, TemplateEntry], Field(examples=[{"ps1": {"name": "Pan-STARRS", "filters": ["g"]}}])
]


@blueprint.get("/")
@open_to_all
@documented({200: Reference})
def names() -> ResponseReturnValue:
    """The names of all filters, catalogues and templates."""
    answer: Reference = {
        "filters": list(_filters()),
        "catalogs": list(_catalogues()),
        "templates": list(_templates()),
    }
    return jsonify(answer)


@blueprint.get("/filters/")
@open_to_all
@documented({200: _Filters})
def filters() -> ResponseReturnValue:
    """All filters with the names that headers have for them."""
    return jsonify(_filters())


@blueprint.get("/catalogs/")
@open_to_all
@documented({200: _Catalogues})
def catalogues() -> ResponseReturnValue:
    """All reference catalogues with their filters."""
    return jsonify(_catalogues())


@blueprint.get("/templates/")
@open_to_all
@documented({200: _Templates})
def templates() -> ResponseReturnValue:
    """All surveys whose images serve as templates."""
    return jsonify(_templates())


def _filters() -> dict[str, FilterEntry]:
    return {
        name: {"name": each.title, "aliases": list(each.aliases)} for name, each in FILTERS.items()
    }


def _catalogues() -> dict[str, CatalogueEntry]:
    return {
        name: {"name": each.title, "filters": list(each.filters), "limit": each.limit_column}
        for name, each in CATALOGUES.items()
    }


def _templates() -> dict[str, TemplateEntry]:
    surveys: list[tuple[str, str, Any]] = [
        *((name, title, bands) for name, (title, bands) in ORIGINALS.items()),
        *((name, each.title, each.bands) for name, each in HIPS.items()),
    ]
    found: dict[str, TemplateEntry] = {"custom": {"name": "The user's own"}}
    for name, title, bands in surveys:
        found[name] = {"name": title, "filters": list(bands)}
    return found
