"""How does somebody want to see an image?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

#: Errors of pydantic that mean: no number at all.
_NO_NUMBER = frozenset(
    {"int_parsing", "int_parsing_size", "float_parsing", "finite_number", "int_from_float"}
)
_WIDTHS, _QUALITIES = (16, 4096), (1, 100)


def _nearest(bounds: tuple[int, int]) -> AfterValidator:
    """STDWeb takes any number here; what lies beyond the bounds is taken for the nearest."""
    return AfterValidator(lambda value: min(max(value, bounds[0]), bounds[1]))


def _format(value: Any) -> Any:
    """``png`` in any case; what is anything else is a JPEG, as STDWeb has it."""
    return "png" if str(value).lower() == "png" else "jpeg"


_Width = Annotated[
    int,
    _nearest(_WIDTHS),
    Field(description="Pixels across, 16 to 4096; beyond, the nearest.", examples=[800]),
]
_Quality = Annotated[
    int, _nearest(_QUALITIES), Field(description="Of a JPEG, 1 to 100; beyond, the nearest.")
]
_Format = Annotated[
    Literal["jpeg", "png"],
    BeforeValidator(_format, json_schema_input_type=str),
    Field(description="png; anything else is a JPEG.", examples=["jpeg"]),
]
_Numbers = Annotated[str, Field(max_length=2000, examples=["210.802,210.811"])]
_Radius = Annotated[float, Field(ge=0, le=1e5, description="Pixels of the image; 0: none.")]
_Overlay = Annotated[bool, Field(examples=[False])]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    width: _Width = 800
    format: _Format = "jpeg"
    quality: _Quality = 80


class Brightness(_Options):
    """How bright, in which colours, and how smooth."""

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

    @model_validator(mode="after")
    def _check_scale(self) -> Brightness:
        if self.qmin >= self.qmax:
            raise BadOption("qmin", "It must be below qmax.")
        return self


class CutoutOptions(Brightness):
    """How a cut-out with its planes is to be shown."""

    cmap: Annotated[str, Field(max_length=50, description="A colour map of Matplotlib.")] = "gray"
    mark: Annotated[_Overlay, Field(description="The object, by a circle in each plane.")] = False
    radius: Annotated[_Radius, Field(description="Of the mark; pixels of the planes.")] = 5.0
    radius2: _Radius = 0.0
    radius3: _Radius = 0.0


class ImageOptions(Brightness):
    """How an image is to be shown."""

    ext: Annotated[int, Field(ge=-1, le=999, description="-1: the last image.")] = -1
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
