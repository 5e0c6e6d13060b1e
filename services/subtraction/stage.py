"""Which light in the image was not there before? Template subtraction, measured or searched."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits

from services.subtraction import forced, search, spread
from services.subtraction.spread import tiles_of
from skyrelay import products
from skyrelay.errors import Permanent
from skyrelay.imaging import mosaic, templates
from skyrelay.imaging.kernel import Orders
from skyrelay.imaging.mosaic import Mosaic, SubtractedTile
from skyrelay.imaging.point_spread import good_stars, measure_point_spread
from skyrelay.imaging.science_image import ScienceImage, load
from skyrelay.imaging.sky import sky_of
from skyrelay.imaging.subtraction import Engine, Hotpants, Pair, Sfft, Zogy, noise_ratio
from skyrelay.imaging.template_fwhm import measure_template_fwhm
from skyrelay.imaging.templates import Template
from skyrelay.stage.context import Piece, StageContext


def run(context: StageContext) -> None:
    """Subtract the template; then measure the targets, or look for candidates.

    Raises
    ------
    Permanent
        If there is no usable template, or no tile of the image can be subtracted.
    Retriable
        If a remote survey did not answer.
    """
    science = load(context, pixels_suffice=True)
    pair = _paired(context, science)
    engine, tiles = _engine(context), tiles_of(context, science.shape)

    def subtracted() -> Iterator[SubtractedTile]:
        for number, tile in enumerate(tiles):
            context.progress(0.2 + 0.5 * number / len(tiles), "subtracting")
            yield mosaic.subtract_tile(pair, tile, science.objects, engine, context.log)

    _measure(context, science, pair, subtracted())


def parts(context: StageContext) -> int:
    """Into how many parts the subtraction of this image is worth splitting."""
    return spread.parts(context)


def prepare(context: StageContext) -> None:
    """Bring image and template together, for all parts; raises what `run` raises."""
    spread.save_pair(context.shared, _paired(context, load(context, pixels_suffice=True)))


def run_part(context: StageContext, part: int) -> None:
    """Subtract the tiles of one part. A tile that fails is no failure of the part."""
    science = load(context, pixels_suffice=True)
    pair, engine = spread.load_pair(context.shared), _engine(context)
    tiles = spread.tiles_of_part(context, science.shape, part)
    subtracted = []
    for number, tile in enumerate(tiles):
        context.progress(number / len(tiles), "subtracting")
        subtracted.append(mosaic.subtract_tile(pair, tile, science.objects, engine, context.log))
    spread.save_tiles(context.shared, subtracted)


def join(context: StageContext, pieces: Sequence[Piece]) -> None:
    """Put the parts together, and go on as `run` does."""
    science = load(context, pixels_suffice=True)
    tiles = spread.load_tiles(context, science.shape, pieces)
    _measure(context, science, spread.load_pair(context.shared), tiles)


def _paired(context: StageContext, science: ScienceImage) -> Pair:
    """The image and its template, ready to be subtracted."""
    if not _detects(context):
        # Better to know that there is no target before the work than after it.
        forced.target_positions(context, science)
    if science.wcs is None:
        context.degrade(
            "The image has no astrometric solution: positions are pixels, magnitudes instrumental, "
            "and nothing is compared with catalogues."
        )
    context.measure("method", _engine(context).name, doc="Engine of the subtraction.")
    context.progress(0.02, "fetching the template")
    template = templates.fetch(context, science)
    context.progress(0.15, "measuring the template")
    return _pair(context, science, template)


def _measure(
    context: StageContext, science: ScienceImage, pair: Pair, tiles: Iterable[SubtractedTile]
) -> None:
    """All that follows when the tiles have been subtracted."""
    subtracted = _put_together(context, science, tiles)
    _write_planes(context, science, pair, subtracted)
    detects = _detects(context)
    context.progress(0.7, "searching" if detects else "measuring the targets")
    stars = good_stars(science.objects, science.fwhm)
    profile = measure_point_spread(pair.image, stars, science.fwhm, context.log)
    if detects:
        search.search(context, science, pair, subtracted, profile)
    else:
        positions = forced.target_positions(context, science)
        forced.measure_targets(context, science, pair, subtracted, profile, positions)


def _detects(context: StageContext) -> bool:
    return bool(context.parameter("subtraction_mode") == "detection")


def _engine(context: StageContext) -> Engine:
    """The engine that the configuration asks for, or the one that is there."""
    method = context.parameter("subtraction_method")
    if method == "zogy":
        return Zogy()
    executable = context.settings.stdpipe_hotpants or shutil.which("hotpants")
    usable = executable is not None and Path(executable).is_file()
    if method == "hotpants" and not usable:
        raise Permanent(
            "HOTPANTS is not installed here (STDPIPE_HOTPANTS names no program): "
            "choose subtraction_method=sfft."
        )
    if usable and method != "sfft":
        return Hotpants(
            executable=Path(str(executable)),
            options=dict(context.parameter("hotpants_extra")),
            temporary=context.temporary,
            verbose=bool(context.parameter("sub_verbose")),
        )
    kernel, background, flux = (
        int(context.parameter(f"sfft_{what}_poly_order")) for what in ("kernel", "bg", "flux")
    )
    return Sfft(Orders(kernel, background, flux))


def _pair(context: StageContext, science: ScienceImage, template: Template) -> Pair:
    """Image and template without their skies, with their noise and FWHM."""
    mesh = int(context.parameter("bg_size") or min(256, min(science.shape) // 2))
    sky, noise = sky_of(science.image, science.mask, mesh, science.fwhm)
    template_sky, template_noise = sky_of(template.image, template.mask, mesh, science.fwhm)
    image = np.where(np.isfinite(science.image), science.image - sky, 0.0)
    plane = np.where(template.mask, 0.0, template.image - template_sky)
    plot = context.path(products.SUB_TEMPLATE_FWHM_PLOT)
    fwhm = context.parameter("template_fwhm_override") or measure_template_fwhm(
        plane, template.mask, template.gain, science, plot, context.log
    )
    context.measure("template_fwhm", fwhm, unit="px", doc="FWHM of the template's stars.")
    context.log(f"FWHM of the image {science.fwhm:.2f} px, of the template {fwhm:.2f} px")
    return Pair(
        image=image,
        template=plane,
        mask=science.mask,
        template_mask=template.mask,
        noise=noise,
        template_noise=template_noise,
        gain=science.gain,
        template_gain=template.gain,
        fwhm=science.fwhm,
        template_fwhm=fwhm,
    )


def _put_together(
    context: StageContext, science: ScienceImage, tiles: Iterable[SubtractedTile]
) -> Mosaic:
    """All tiles, put together; a failed one is masked and makes the result degraded."""
    subtracted = mosaic.assemble(science.shape, tiles)
    failed = len(subtracted.failures)
    context.measure("n_tiles", subtracted.tiles, doc="Tiles of the subtraction.")
    context.measure("n_tiles_failed", failed, doc="Tiles that could not be subtracted.")
    if failed == subtracted.tiles:
        raise Permanent(f"The subtraction failed: {subtracted.failures[0][1]}.")
    for tile, reason in subtracted.failures:
        context.degrade(f"The tile at {tile} is left out of the subtraction: {reason}.")
    ratio = noise_ratio(subtracted.scaled, subtracted.mask)
    context.measure(
        "difference_noise_ratio", ratio, doc="Scatter of the difference in units of its noise."
    )
    context.log(f"The difference scatters by {ratio:.3f} of its noise")
    return subtracted


def _write_planes(
    context: StageContext, science: ScienceImage, pair: Pair, subtracted: Mosaic
) -> None:
    planes = {
        products.SUB_IMAGE: pair.image,
        products.SUB_MASK: subtracted.mask,
        products.SUB_TEMPLATE: pair.template,
        products.SUB_TEMPLATE_MASK: pair.template_mask,
        products.SUB_CONVOLVED: subtracted.convolved,
        products.SUB_DIFFERENCE: subtracted.difference,
        products.SUB_SCALED_DIFFERENCE: subtracted.scaled,
        products.SUB_NOISE: subtracted.noise,
    }
    for name, plane in planes.items():
        kind = np.uint8 if plane.dtype == bool else np.float32
        fits.writeto(context.path(name), plane.astype(kind), science.header, overwrite=True)
