"""How does somebody want to see an image?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

#: Errors of pydantic that mean: no number at all.
_NO_NUMBER = frozenset({"int_parsing", "float_parsing", "finite_number", "int_from_float"})
_LARGEST_WIDTH = 4096

_Width = Annotated[
    int, Field(ge=16, le=_LARGEST_WIDTH, description="Pixels across.", examples=[800])
]
_Quality = Annotated[int, Field(ge=1, le=100, description="Of a JPEG.", examples=[80])]
_Format = Annotated[Literal["jpeg", "png"], Field(description="Of the picture.")]
_Numbers = Annotated[str, Field(max_length=2000, examples=["210.802,210.811"])]
_Radius = Annotated[float, Field(ge=0, le=1e5, description="Pixels of the image; 0: none.")]
_Overlay = Annotated[bool, Field(examples=[False])]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    width: _Width = 800
    format: _Format = "jpeg"
    quality: _Quality = 80


class CutoutOptions(_Options):
    """How a cut-out with its planes is to be shown."""


class ImageOptions(_Options):
    """How an image is to be shown."""

    ext: Annotated[int, Field(ge=-1, le=999, description="-1: the last image.")] = -1
    cmap: Annotated[str, Field(max_length=50, description="A colour map of Matplotlib.")] = (
        "Blues_r"
    )
    stretch: Annotated[
        Literal["linear", "asinh", "log", "sqrt", "sinh", "power", "histeq"],
        Field(description="From pixels to brightness."),
    ] = "linear"
    qmin: Annotated[float, Field(ge=0, le=100, description="Percent of pixels below black.")] = 0.5
    qmax: Annotated[float, Field(ge=0, le=100, description="Percent below white.")] = 99.5
    r0: Annotated[float, Field(ge=0, le=50, description="Smoothing; pixels of the image.")] = 0.0
    zoom: Annotated[float, Field(ge=1, le=32, description="1: the whole image.")] = 1.0
    dx: Annotated[float, Field(ge=-0.5, le=0.5, description="Centre, of the width.")] = 0.0
    dy: Annotated[float, Field(ge=-0.5, le=0.5, description="Centre, of the height.")] = 0.0
    grid: Annotated[_Overlay, Field(description="Lines of equal RA and Dec.")] = False
    obj: Annotated[_Overlay, Field(description="The measured objects.")] = False
    cat: Annotated[_Overlay, Field(description="The stars of the catalogue.")] = False
    ra: Annotated[_Numbers, Field(description="Of marks, in degrees, with commas.")] = ""
    dec: Annotated[_Numbers, Field(description="Likewise.")] = ""
    radius: _Radius = 0.0
    radius2: _Radius = 0.0
    radius3: _Radius = 0.0
    sub_ra: Annotated[float | None, Field(ge=0, le=360, description="Cut out around here.")] = None
    sub_dec: Annotated[float | None, Field(ge=-90, le=90, description="Likewise.")] = None
    sub_size: Annotated[float | None, Field(gt=0, le=1e5, description="Pixels across.")] = None
    sub_sr: Annotated[float | None, Field(gt=0, le=10, description="Or radius in degrees.")] = None

    @model_validator(mode="after")
    def _check(self) -> ImageOptions:
        if self.qmin >= self.qmax:
            raise BadOption("qmin", "It must be below qmax.")
        if len(self.marks("ra")) != len(self.marks("dec")):
            raise BadOption("ra", "ra and dec must have as many values.")
        if (self.sub_ra is None) != (self.sub_dec is None):
            raise BadOption("sub_ra", "Give sub_ra and sub_dec together.")
        return self

    def marks(self, name: Literal["ra", "dec"]) -> list[float]:
        """One of the coordinates of the marks, in degrees."""
        try:
            return [float(text) for text in getattr(self, name).split(",") if text.strip()]
        except ValueError as error:
            raise BadOption(name, "Invalid numeric value") from error


class BadOption(Exception):
    """An option is not one that there is; not a ValueError, which pydantic would wrap."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(name, sentence)
        self.name = name
        self.sentence = sentence


_Wanted = TypeVar("_Wanted", bound=_Options)


def parse(kind: type[_Wanted], given: Mapping[str, Any]) -> _Wanted:
    """The options that a query names.

    Raises
    ------
    BadOption
        For the first that is not allowed.
    """
    try:
        return kind.model_validate({name: value for name, value in given.items() if value != ""})
    except ValidationError as error:
        first = error.errors()[0]
        sentence = "Invalid numeric value" if first["type"] in _NO_NUMBER else first["msg"]
        raise BadOption(str(first["loc"][0]), sentence) from error
