"""Where does the template of a subtraction come from, and how does it get onto the image's grid?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.stats import mad_std
from astropy.wcs import WCS
from scipy.ndimage import binary_dilation

from skyrelay import products
from skyrelay.errors import Permanent
from skyrelay.imaging.arrays import Mask, Plane
from skyrelay.imaging.fits import read_image
from skyrelay.imaging.header import header_gain, header_saturation
from skyrelay.imaging.pieces import Piece, put_together
from skyrelay.imaging.science_image import ScienceImage
from skyrelay.imaging.star_patterns import by_stars, match_stars
from skyrelay.imaging.wcs import sky_field, wcs_of
from skyrelay.parameters import default_of
from skyrelay.sky import hips, originals, surveys
from skyrelay.sky.healpix import Cone
from skyrelay.sky.remote import Remote
from skyrelay.stage.context import StageContext

#: Below this part of the image there is nothing worth subtracting.
_LEAST_OVERLAP = 0.01
#: No field of stars is saturated in more than this part of its pixels.
_MOST_SATURATED = 0.2
#: Gain of a survey's stacked image: its sky dominates its noise.
_SURVEY_GAIN = 10000.0
#: Filters to take where a survey lacks the image's, the best first.
_NEAREST_FILTERS = {
    "U": "ug", "B": "g", "V": "gr", "R": "ri", "I": "iz", "u": "g", "g": "r", "r": "ig",
    "i": "rz", "z": "ir", "y": "zi", "G": "rg", "BP": "g", "RP": "ir",
}  # fmt: skip


@dataclass(frozen=True)
class Template:
    """A template on the pixels of the image.

    Attributes
    ----------
    image : ndarray
        Pixels in the template's own flux units, zero where masked.
    mask : ndarray of bool
        True where there is no template.
    gain : float
        e- per flux unit.
    saturation : float or None
        Level above which the template's pixels were masked.
    name : str
        What it is, for the log.
    """

    image: Plane
    mask: Mask
    gain: float
    saturation: float | None
    name: str


def fetch(context: StageContext, science: ScienceImage) -> Template:
    """The template that the configuration asks for, on the grid of the image.

    Raises
    ------
    Permanent
        If it is missing, unusable or shows another part of the sky.
    Retriable
        If a remote survey did not answer.
    """
    name = context.parameter("template")
    if not name:
        name = "custom" if context.path(products.CUSTOM_TEMPLATE).exists() else "ps1"
        context.log(f"No template is chosen: using {name}")
    template = _custom(context, science) if name == "custom" else _survey(context, science, name)
    covered = 1.0 - template.mask.mean()
    if covered < _LEAST_OVERLAP:
        raise Permanent(
            f"The template ({template.name}) shows another field: it covers "
            f"{100 * covered:.1f} % of the image."
        )
    context.log(f"Template {template.name} covers {100 * covered:.1f} % of the image")
    return template


def _custom(context: StageContext, science: ScienceImage) -> Template:
    path = context.path(products.CUSTOM_TEMPLATE)
    if not path.exists():
        raise Permanent(
            "There is no template: upload it as custom_template.fits, or choose a survey."
        )
    given_image = read_image(path)
    image, header = np.asarray(given_image.data, dtype=np.float64), given_image.header
    rows, columns = image.shape
    wcs = wcs_of(header, (rows, columns))
    bad = ~np.isfinite(image)
    saturation = _saturation(context, image, header)
    if saturation is not None:
        bad |= image >= saturation
    mask_path = context.path(products.CUSTOM_TEMPLATE_MASK)
    if mask_path.exists():
        mask = read_image(mask_path).data
        if mask.shape != image.shape:
            raise Permanent(
                f"The mask of the custom template has {mask.shape[1]} x {mask.shape[0]} pixels and "
                f"the template {image.shape[1]} x {image.shape[0]}: they must be the same."
            )
        bad |= mask != 0
    gain = context.config.get("custom_template_gain") or header_gain(
        header, lambda text: context.log(f"Template: {text}")
    )
    if wcs is None or science.wcs is None:
        image, bad = _on_stars(context, science, image, bad)
    else:
        image, bad = _onto(science, image, bad, wcs)
    return Template(
        image, bad, gain or default_of("custom_template_gain"), saturation, "custom_template.fits"
    )


def _saturation(context: StageContext, image: Plane, header: fits.Header) -> float | None:
    """The template's saturation level: given, else of its header, and only if it can be one."""
    given = context.config.get("custom_template_saturation")
    level = given if given is not None else header_saturation(header)
    pixels = image[np.isfinite(image)]
    if level is None or not pixels.size:
        return None
    source = "from its header" if given is None else "custom_template_saturation"
    median = float(np.median(pixels))
    if level <= median:
        context.log(
            f"Warning: The template's saturation level {level:g} ({source}) is not above its "
            f"median {median:g}: it is not used"
        )
        return None
    masked = float(np.mean(pixels >= level))
    if masked > _MOST_SATURATED:
        context.degrade(
            f"The saturation level {level:g} ({source}) masks {100 * masked:.0f} % of the "
            "template: check custom_template_saturation."
        )
    return float(level)


def _on_stars(
    context: StageContext, science: ScienceImage, image: Plane, bad: Mask
) -> tuple[Plane, Mask]:
    """Bring an image and its mask onto the science image by the stars that both show."""
    hidden = np.where(science.mask, np.nan, science.image)
    matrix = match_stars(np.where(bad, np.nan, image), hidden)
    if matrix is None:
        raise Permanent(
            "The custom template cannot be aligned: it or the image has no usable WCS, and their "
            "stars do not match."
        )
    lacking = "template" if science.wcs is not None else "image"
    context.log(
        f"The {lacking} has no usable WCS: the template is aligned on its stars, its corner moves "
        f"by {np.hypot(*matrix[:, 2]):.1f} px"
    )
    # The spline that interpolates carries what a bad pixel holds to its neighbours.
    spoiled = binary_dilation(bad)
    plane = np.concatenate([part for _, part in by_stars(image, matrix, science.shape, spoiled)])
    missing = ~np.isfinite(plane)
    return np.where(missing, 0.0, plane), missing


def _onto(science: ScienceImage, image: Plane, bad: Mask, wcs: WCS) -> tuple[Plane, Mask]:
    """Bring an image and its mask onto the grid of the science image."""
    if image.shape == science.shape and _same_grid(wcs, science):
        return np.where(bad, 0.0, image), bad
    piece = Piece(image, bad, wcs)
    return put_together([piece], science.solved, science.header, science.shape)


def _same_grid(wcs: WCS, science: ScienceImage) -> bool:
    """Whether the pixels of both images lie on each other, to a hundredth of a pixel."""
    rows, columns = science.shape
    x, y = (axis.ravel() for axis in np.mgrid[0 : columns - 1 : 3j, 0 : rows - 1 : 3j])
    try:
        x_there, y_there = wcs.all_world2pix(*science.positions(x, y), 0)
    except (ValueError, RuntimeError):
        return False
    return bool(np.all(np.hypot(x_there - x, y_there - y) < 0.01))


def _survey(context: StageContext, science: ScienceImage, name: str) -> Template:
    remote, band, wcs = Remote.of(context), _survey_filter(context, name), science.solved
    field = sky_field(wcs, science.shape)
    cone = Cone(field.ra, field.dec, field.radius)
    if name in originals.SURVEYS:
        pieces = originals.pieces_of(remote, name, band, wcs, science.shape, cone)
    else:
        pieces = hips.pieces_of(remote, name, band, cone, science.pixel_scale * 3600)
    plane, bad = put_together(pieces, wcs, science.header, science.shape)
    if bad.all():
        raise Permanent(
            f"The survey {name} does not cover this field: choose another template, or upload "
            "one as custom_template.fits."
        )
    if name in surveys.HIPS:
        plane = _normalized(plane, bad)
    return Template(plane, bad, _SURVEY_GAIN, None, f"{name} {band}")


def _normalized(plane: Plane, bad: Mask) -> Plane:
    """With a sky noise of 10, whatever unit the survey has, so that the gain means something."""
    good = plane[~bad]
    noise = float(mad_std(good))
    if not noise > 0:
        return plane
    return np.where(bad, 0.0, (plane - np.median(good)) * (10 / noise))


def _survey_filter(context: StageContext, name: str) -> str:
    """The survey's filter that is nearest to the image's."""
    wanted = str(context.parameter("filter") or "r")
    survey = originals.SURVEYS.get(name) or surveys.HIPS[name]
    for band in (wanted, *_NEAREST_FILTERS.get(wanted, ())):
        if band in survey.bands:
            return str(band)
    return str(next(iter(survey.bands)))
