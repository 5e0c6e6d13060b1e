"""How bright are the targets in the difference image?"""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from services.subtraction.search import cutout_planes, photometry_of
from skyrelay import products
from skyrelay.errors import Permanent
from skyrelay.imaging import candidates, cutouts
from skyrelay.imaging.forced import forget_masked, keep_targets
from skyrelay.imaging.mosaic import Mosaic
from skyrelay.imaging.science_image import ScienceImage
from skyrelay.imaging.subtraction import Pair
from skyrelay.imaging.votable import write_votable
from skyrelay.sky.targets import pixels_of
from skyrelay.stage.context import StageContext


def measure_targets(
    context: StageContext,
    science: ScienceImage,
    pair: Pair,
    subtracted: Mosaic,
    profile: NDArray[np.float64],
    positions: Table,
) -> None:
    """Forced photometry at ``positions`` in the difference: ``sub_target.vot`` and its cut-out."""
    if context.parameter("centroid_targets"):
        _centre(science, subtracted, profile, positions)
    measured = photometry_of(context, science, subtracted, profile, positions)
    radius = float(context.parameter("rel_aper")) * science.fwhm
    forget_masked(measured, subtracted.mask, radius)
    write_votable(measured, context.path(products.SUB_TARGET))
    cutouts.write_cutout(
        context.path(products.SUB_TARGET_CUTOUT),
        measured[0],
        cutout_planes(pair, subtracted, science),
        science,
        int(context.parameter("cutout_size")),
        file_name=products.IMAGE,
    )
    for row in measured:
        sn = row["flux"] / row["fluxerr"]
        context.log(
            f"{row['name']}: S/N {sn:.1f}, magnitude {row['mag_calib']:.3f} ± "
            f"{row['mag_calib_err']:.3f}, limit {row['mag_limit']:.2f}"
        )
    keep_targets(context, measured)


def target_positions(context: StageContext, science: ScienceImage) -> Table:
    """The targets that lie in the image: name, x, y (pixels), ra, dec (degrees).

    Raises
    ------
    Permanent
        If there is none.
    """
    targets = list(context.config.get("targets") or [])
    if not targets and context.config.get("target_ra") is not None:
        ra, dec = context.config["target_ra"], context.config["target_dec"]
        targets = [{"name": "target", "ra": ra, "dec": dec}]
    if not targets:
        raise Permanent(
            "There is no target to measure: give one and run the inspection, "
            "or choose subtraction_mode=detection."
        )
    x, y = pixels_of(targets, science.wcs)
    rows, columns = science.shape
    inside = (x > -0.5) & (x < columns - 0.5) & (y > -0.5) & (y < rows - 0.5)
    for target, there in zip(targets, inside, strict=True):
        if not there:
            context.degrade(f"The target {target.get('name', '')} lies outside the image.")
    if not inside.any():
        raise Permanent("No target lies in the image.")
    ra, dec = science.positions(x[inside], y[inside])
    names = [
        str(target.get("name", "")) for target, there in zip(targets, inside, strict=True) if there
    ]
    return Table({"name": names, "x": x[inside], "y": y[inside], "ra": ra, "dec": dec})


def _centre(
    science: ScienceImage,
    subtracted: Mosaic,
    profile: NDArray[np.float64],
    positions: Table,
) -> None:
    """Move every position to the centre of the light in the difference near to it."""
    field = subtracted.as_field(profile, science.fwhm)
    centred = candidates.measure(field, positions)
    shines = np.asarray(centred["psf_flux"]) > 3 * np.asarray(centred["psf_flux_err"])
    for name in ("x", "y"):
        positions[f"{name}_orig"] = positions[name]
        positions[name] = np.where(shines, centred[name], positions[name])
    for name in ("ra", "dec"):
        positions[f"{name}_orig"] = positions[name]
    positions["ra"], positions["dec"] = science.positions(positions["x"], positions["y"])
