"""Which candidates are in the difference image?"""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from stdpipe import photometry, realbogus_features
from stdpipe.astrometry import spherical_distance

from skyrelay import products
from skyrelay.imaging import candidates, cutouts
from skyrelay.imaging.mosaic import Mosaic
from skyrelay.imaging.point_spread import enclosed, with_wings
from skyrelay.imaging.science_image import ScienceImage
from skyrelay.imaging.subtraction import PROPER_REACH, Pair
from skyrelay.imaging.unstacked import write_unstacked
from skyrelay.imaging.votable import write_votable
from skyrelay.sky import known
from skyrelay.sky.remote import Remote
from skyrelay.sky.targets import resolve
from skyrelay.stage.context import StageContext

Selection = NDArray[np.bool_]


def search(
    context: StageContext,
    science: ScienceImage,
    pair: Pair,
    subtracted: Mosaic,
    profile: NDArray[np.float64],
) -> None:
    """Find candidates in the difference and write them as table, regions and cut-outs."""
    field = subtracted.as_field(profile, science.fwhm)
    sn, min_area = float(context.parameter("sn")), int(context.parameter("minarea"))
    found = candidates.detect(field, sn, min_area)
    context.log(f"{len(found)} detections in the difference with S/N of at least {sn:g}")
    found, dropped = candidates.most_significant(found)
    if dropped:
        context.degrade(
            f"Only the {len(found)} most significant of {len(found) + dropped} detections in the "
            "difference are looked at: raise sn, or see whether the template fits."
        )
    measured = candidates.measure(field, found)
    measured = measured[candidates.stands_out(measured, sn)]
    context.log(f"{len(measured)} of them stand out of their surroundings")
    measured = candidates.merge_duplicates(measured, 0.5 * science.fwhm)
    context.progress(0.8, "filtering the candidates")
    measured["ra"], measured["dec"] = science.positions(measured["x"], measured["y"])
    measured = _filtered(context, science, measured)
    measured = photometry_of(context, science, subtracted, profile, measured)
    measured["rb_score"] = _score(subtracted, measured, science.fwhm)
    context.progress(0.9, "writing the candidates")
    _write(context, science, pair, subtracted, measured)


def _filtered(context: StageContext, science: ScienceImage, found: Table) -> Table:
    """What is left after all the filters that the configuration asks for."""

    def keep(selected: Selection, what: str) -> None:
        nonlocal found
        found = found[selected]
        context.log(f"{len(found)} candidates left after {what}")

    remote = Remote.of(context)
    if context.parameter("filter_prefilter"):
        keep(candidates.is_point_source(found), "the test of their shape")
    if context.parameter("filter_adjust"):
        keep(~candidates.is_dipole(found), "the test for sub-pixel dipoles")
    if science.wcs is None:
        context.log("No filter by coordinates: the image has no astrometric solution")
        return found
    centre = context.parameter("filter_center")
    if centre:
        position = resolve(str(centre), remote)
        keep(_around(found, position, context.parameter("filter_sr0")), "the position")
    if context.parameter("filter_vizier"):
        radius = 0.5 * science.fwhm * science.pixel_scale
        keep(~known.in_surveys(found, radius, remote, context.degrade), "the surveys")
    if context.parameter("filter_skybot"):
        solar = known.in_solar_system(found, science.time, remote, context.degrade)
        keep(~solar, "SkyBoT")
    return found


def _around(found: Table, centre: tuple[float, float], radius: float) -> Selection:
    distance = spherical_distance(*centre, np.asarray(found["ra"]), np.asarray(found["dec"]))
    return np.asarray(distance < radius)


def photometry_of(
    context: StageContext,
    science: ScienceImage,
    subtracted: Mosaic,
    profile: NDArray[np.float64],
    positions: Table,
) -> Table:
    """Calibrated magnitudes and limits at positions of the difference image.

    The aperture is that of the photometry, so that its zero point holds; where a point source of
    the difference is not as wide as one of the image, its flux is corrected for that.
    """
    measured = positions.copy()
    if "flags" not in measured.colnames:
        measured["flags"] = np.zeros(len(measured), dtype=int)
    if not len(measured):
        for name in ("flux", "fluxerr", "mag", "magerr", *_CALIBRATED):
            measured[name] = np.zeros(0)
        measured["mag_filter_name"] = np.zeros(0, dtype="U8")
        return measured
    radius = float(context.parameter("rel_aper"))
    measured = photometry.measure_objects(
        measured,
        subtracted.difference,
        aper=radius,
        fwhm=science.fwhm,
        mask=subtracted.mask,
        bg=np.zeros(science.shape),
        err=np.where(subtracted.mask, 0.0, subtracted.noise),
        optimal=bool(context.parameter("optimal_extraction")),
        centroid_iter=0,
        verbose=False,
    )
    if subtracted.profile is not None:
        # Both are of the light of a whole star.
        whole = with_wings(profile, science.fwhm, PROPER_REACH)
        correction = enclosed(whole, radius * science.fwhm)
        correction /= enclosed(subtracted.profile, radius * science.fwhm)
        measured["flux"] *= correction
        measured["fluxerr"] *= correction
        measured["mag"] -= 2.5 * np.log10(correction)
    _calibrate(context, science, measured)
    return measured


_CALIBRATED = ("mag_calib", "mag_calib_err", "mag_limit")


def _calibrate(context: StageContext, science: ScienceImage, measured: Table) -> None:
    zero_point = science.zero_point
    x, y = np.asarray(measured["x"], dtype=float), np.asarray(measured["y"], dtype=float)
    value = zero_point.at(x, y)
    measured["mag_calib"] = np.ma.filled(np.ma.asarray(measured["mag"]), np.nan) + value
    magerr = np.ma.filled(np.ma.asarray(measured["magerr"]), np.nan)
    measured["mag_calib_err"] = np.hypot(magerr, zero_point.error)
    limit = float(context.parameter("sn")) * np.asarray(measured["fluxerr"], dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        measured["mag_limit"] = -2.5 * np.log10(limit) + value
    measured["mag_filter_name"] = np.full(
        len(measured), str(context.config.get("cat_col_mag") or context.parameter("filter") or "")
    )


def _score(subtracted: Mosaic, found: Table, fwhm: float) -> NDArray[np.float64]:
    """Real/bogus score of stdpipe's feature-based classifier: 0 bogus, 1 real."""
    if not len(found):
        return np.zeros(0)
    scored = realbogus_features.classify(
        found,
        subtracted.difference,
        err=subtracted.noise,
        mask=subtracted.mask,
        fwhm=fwhm,
        method="cutout",
        classifier="scoring",
        flag_bogus=False,
        radius=max(5, int(np.ceil(2 * fwhm))),
    )
    return np.asarray(scored["rb_score"], dtype=float)


def _write(
    context: StageContext,
    science: ScienceImage,
    pair: Pair,
    subtracted: Mosaic,
    found: Table,
) -> None:
    found = cutouts.name_candidates(found[np.argsort(-np.asarray(found["sn"]), kind="stable")])
    write_votable(found, context.path(products.CANDIDATES))
    cutouts.write_regions(context.path(products.CANDIDATES_REGIONS), found, science, "red")
    cutouts.write_cutouts(
        context.path(products.CANDIDATES_CUTOUTS),
        found,
        cutout_planes(pair, subtracted, science),
        science,
        int(context.parameter("cutout_size")),
        file_name=products.IMAGE,
    )
    write_unstacked(context, science, found, context.path(products.CANDIDATES_CUTOUTS))
    context.measure("n_candidates", len(found), doc="Candidates in the difference image.")
    context.log(f"{len(found)} candidates")


def cutout_planes(
    pair: Pair, subtracted: Mosaic, science: ScienceImage
) -> dict[str, NDArray[np.generic]]:
    """The planes of a cut-out, in the order in which they are shown."""
    return {
        "image": science.image.astype(np.float32),
        "template": pair.template.astype(np.float32),
        "convolved": subtracted.convolved.astype(np.float32),
        "diff": subtracted.difference.astype(np.float32),
        "err": subtracted.noise.astype(np.float32),
        "footprint": (~pair.template_mask).astype(np.uint8),
        "mask": subtracted.mask,
    }
