"""The inspection: is this an image that can be worked with, and what is known about it?

It leaves a clean image, a mask, the targets' positions, and a configuration in which everything
that the later stages need has a value.
"""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS
from stdpipe.cutouts import crop_image_centered

from skyrelay.errors import Permanent
from skyrelay.imaging.fits import Image, read_image, write_image
from skyrelay.imaging.header import filter_of, gain_of, saturation_of
from skyrelay.imaging.mask import build_mask, read_custom_mask, write_mask
from skyrelay.imaging.times import parsed_time, time_of
from skyrelay.imaging.wcs import pixel_scale, sky_field, wcs_of, with_wcs
from skyrelay.parameters import default_of
from skyrelay.parameters.findings import forget, found_out
from skyrelay.products import IMAGE, IMAGE_TARGET, MASK
from skyrelay.sky.filters import best_catalogue, best_template, known_filter
from skyrelay.sky.remote import Remote
from skyrelay.sky.targets import parse_targets, pixels_of
from skyrelay.stage.context import StageContext

#: Parameters whose defaults the inspection writes into the configuration.
_DEFAULTS = (
    *("sn", "initial_aper", "initial_r0", "rel_aper", "rel_bg1", "rel_bg2", "spatial_order"),
    *("minarea", "use_color", "refine_wcs", "hotpants_extra", "sub_size", "sub_overlap"),
    *("sub_verbose", "cat_limit", "mask_cosmics"),
)

#: Half size of the picture of the target, in pixels.
_TARGET_HALF_SIZE = 100


def run(context: StageContext) -> None:
    """Inspect the image of the task."""
    context.progress(0.0, "reading the image")
    image = read_image(context.path(IMAGE))
    forget(context.config)
    set_by_user = set(context.config)
    _describe(context, image)
    wcs = _coordinates(context, image)
    context.progress(0.2, "reading the header")
    _fill_from_header(context, image)
    context.progress(0.3, "masking")
    mask = build_mask(
        image,
        saturation=float(context.config["saturation"]),
        gain=float(context.config["gain"]),
        cosmics=bool(context.parameter("mask_cosmics")),
        custom=read_custom_mask(context.folder, image.data.shape),
        log=context.log,
    )
    context.progress(0.8, "finding the targets")
    _find_targets(context, wcs)
    _fill_defaults(context, image, wcs)
    context.config["inspected"] = found_out(context.config, set_by_user)
    context.progress(0.9, "writing")
    write_mask(context.path(MASK), mask)
    if image.repairs:
        write_image(context.path(IMAGE), image.data, image.header)
    _write_target_image(context, image, wcs)
    _measure(context, image, mask != 0)


def _describe(context: StageContext, image: Image) -> None:
    height, width = image.data.shape
    context.log(f"The image has {width} x {height} pixels")
    for repair in image.repairs:
        context.log(f"Repaired: {repair}")
    finite = image.data[np.isfinite(image.data)]
    if not finite.size:
        raise Permanent("The image holds no number at all: every pixel is undefined (NaN).")
    low, middle, high = float(finite.min()), float(np.median(finite)), float(finite.max())
    context.log(f"Pixels from {low:g} to {high:g}, median {middle:g}")
    if low == high:
        raise Permanent(f"The image is empty: every pixel is {low:g}.")


def _coordinates(context: StageContext, image: Image) -> WCS | None:
    """The astrometric solution; a broken one is taken out of the header."""
    wcs = wcs_of(image.header, image.data.shape)
    if wcs is None:
        if "CTYPE1" in image.header:
            context.log("Warning: The astrometric solution in the header is broken: taken out")
            image.header = with_wcs(image.header, None)
            image.repairs.append("Took out a broken astrometric solution")
        else:
            context.log("The header has no astrometric solution")
        return None
    context.field = sky_field(wcs, image.data.shape)
    context.log(
        f"Centre RA {context.field.ra:.5f} Dec {context.field.dec:+.5f} deg, radius "
        f"{context.field.radius:.3f} deg, pixel scale {pixel_scale(wcs) * 3600:.3f} arcsec"
    )
    return wcs


def _fill_from_header(context: StageContext, image: Image) -> None:
    config = context.config
    if config.get("gain") is None:
        config["gain"] = gain_of(image.header, image.data, context.log)
    if config.get("saturation") is None:
        config["saturation"] = saturation_of(image.header, image.data, context.log)
    if config.get("filter"):
        name = known_filter(str(config["filter"]))
        if name is None:
            raise Permanent(f"The filter '{config['filter']}' is unknown.")
        config["filter"] = name
    else:
        config["filter"] = filter_of(image.header, context.log)
    if config.get("time"):
        config["time"] = parsed_time(str(config["time"])).isot
    else:
        time = time_of(image.header, context.log)
        if time is not None:
            config["time"] = time.isot


def _find_targets(context: StageContext, wcs: WCS | None) -> None:
    config = context.config
    targets = parse_targets(str(config.get("target") or ""), wcs, Remote.of(context))
    if not targets:
        return
    config["targets"] = [target.as_config() for target in targets]
    first = targets[0]
    if first.ra is not None:
        config["target_ra"], config["target_dec"] = first.ra, first.dec
        config.setdefault("blind_match_center", f"{first.ra} {first.dec}")
    config.setdefault("subtraction_mode", "target")


def _fill_defaults(context: StageContext, image: Image, wcs: WCS | None) -> None:
    config = context.config
    for name in _DEFAULTS:
        if config.get(name) is None:
            config[name] = default_of(name)
    config.setdefault("subtraction_mode", default_of("subtraction_mode"))
    config.setdefault("blind_match_wcs", wcs is None)
    if config.get("bg_size") is None:
        config["bg_size"] = min(256, min(image.data.shape) // 2)
    field = context.field
    ra, dec = (
        (field.ra, field.dec) if field else (config.get("target_ra"), config.get("target_dec"))
    )
    if not config.get("cat_name"):
        config["cat_name"] = best_catalogue(config["filter"], dec)
        context.log(f"Reference catalogue is {config['cat_name']}")
    if not config.get("template"):
        config["template"] = best_template(config["filter"], ra, dec)
        context.log(f"Template is {config['template']}")


def _write_target_image(context: StageContext, image: Image, wcs: WCS | None) -> None:
    x, y = pixels_of(context.config.get("targets", [])[:1], wcs)
    height, width = image.data.shape
    if not len(x) or not (0 <= x[0] < width and 0 <= y[0] < height):
        if len(x):
            context.log("Warning: The target lies outside the image")
        return
    data, header = crop_image_centered(
        image.data, x[0], y[0], _TARGET_HALF_SIZE, header=with_wcs(image.header, wcs)
    )
    write_image(context.path(IMAGE_TARGET), data, header)


def _measure(context: StageContext, image: Image, masked: np.ndarray) -> None:
    height, width = image.data.shape
    config = context.config
    context.measure("width", width, unit="px", doc="Width of the image.")
    context.measure("height", height, unit="px", doc="Height of the image.")
    context.measure("filter", config["filter"], doc="Filter of the image.")
    context.measure("gain", config["gain"], unit="e-/ADU", doc="Gain.")
    context.measure("saturation", config["saturation"], unit="ADU", doc="Saturation level.")
    context.measure("time", config.get("time"), doc="Time of the observation (UTC).")
    context.measure(
        "masked_fraction", float(np.mean(masked)), doc="Part of the pixels that are masked."
    )
    context.measure(
        "median", float(np.median(image.data[~masked])), unit="ADU", doc="Median of good pixels."
    )
    context.measure("n_targets", len(config.get("targets", [])), doc="Number of targets.")
    context.measure("has_wcs", context.field is not None, doc="Whether there is a usable WCS.")
    if context.field is not None:
        context.keep_field(context.field)
