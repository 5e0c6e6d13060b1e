"""The photometry: what is in the image, where exactly does it lie, and how bright is it?

Detection, aperture photometry, the reference catalogue, the astrometric and the photometric
solution, the image's depth, and forced photometry of the targets.
"""

from __future__ import annotations

import pickle

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from stdpipe import pipeline

from services.photometry.frame import Frame, load_frame
from services.photometry.position import blind_wcs, keep_position, known_wcs, refined_wcs
from skyrelay import products
from skyrelay.errors import Permanent
from skyrelay.imaging import calibration, detection
from skyrelay.imaging.apertures import Apertures, measure
from skyrelay.imaging.calibration import Calibration
from skyrelay.imaging.confusion import confusion_noise
from skyrelay.imaging.fits import write_image
from skyrelay.imaging.forced import keep_targets, measure_targets
from skyrelay.imaging.plots import PhotometryPlots
from skyrelay.imaging.psf_photometry import Programs, fit_profiles
from skyrelay.imaging.target_cutouts import write_target_cutouts
from skyrelay.imaging.votable import write_votable
from skyrelay.imaging.wcs import pixel_scale, sky_field
from skyrelay.sky.catalogues import LOCAL, Columns, columns_for, get_catalogue
from skyrelay.sky.remote import Remote
from skyrelay.stage.context import StageContext
from skyrelay.store import files

#: Parameters that the photometry sets; those of an earlier one say nothing about this image.
_RESULTS = (
    *("fwhm", "mag_limit", "zp", "zp_err", "color_term"),
    *("n_objects", "n_catalogue", "n_matched", "n_calibrators"),
    *("cat_col_mag", "cat_col_mag_err", "cat_col_color_mag1", "cat_col_color_mag2"),
)


def run(context: StageContext) -> None:
    """Measure the image of the task; without any coordinates on the sky, in pixels only."""
    for name in _RESULTS:
        context.config.pop(name, None)
    frame = load_frame(context)
    plots = PhotometryPlots(context.folder, context.log)
    _choose_method(context)
    _check_apertures(context)
    wcs = known_wcs(context, frame)
    # What can fail early fails early.
    reference = None if wcs is None else _catalogue(context, frame, wcs)

    context.progress(0.05, "detecting objects")
    found = _detect(context, frame, plots)
    objects, apertures = _measure_objects(context, frame, found, plots)

    if wcs is None and not context.parameter("blind_match_wcs"):
        _keep_uncalibrated(context, frame, objects, apertures)
        return
    if wcs is None:
        context.progress(0.3, "finding the field")
        wcs = blind_wcs(context, frame, objects)
    stars, columns = reference or _catalogue(context, frame, wcs)
    context.progress(0.45, "refining the astrometric solution")
    wcs = refined_wcs(context, objects, stars, columns, wcs, apertures.fwhm)
    keep_position(context, frame, wcs, objects)

    context.progress(0.6, "calibrating")
    solution, chosen = _calibrate(context, frame, objects, stars, columns, wcs, apertures)
    solution.apply(objects)
    plots.calibration(solution, frame.shape)
    limit = _limit(context, objects, chosen, columns, plots)

    context.progress(0.8, "measuring the targets")
    targets = _targets(context, frame, wcs, apertures, solution)
    context.progress(0.9, "writing")
    _write_tables(context, objects, stars, solution, apertures)
    _keep_results(context, frame, objects, stars, solution, limit)
    keep_targets(context, targets)


def _apertures(context: StageContext, fwhm: float) -> Apertures:
    return Apertures(
        fwhm=fwhm,
        rel_aper=float(context.parameter("rel_aper")),
        rel_bg1=float(context.parameter("rel_bg1")),
        rel_bg2=float(context.parameter("rel_bg2")),
        optimal=bool(context.parameter("optimal_extraction")),
    )


def _choose_method(context: StageContext) -> None:
    """Let ``photometry_method`` say whether pixels are weighted, for later stages too."""
    method = context.parameter("photometry_method")
    if method is not None:
        context.config["optimal_extraction"] = method == "optimal"


def _check_apertures(context: StageContext) -> None:
    """Senseless apertures are refused before an hour is spent on the detection."""
    _apertures(context, 1.0)


def _detect(context: StageContext, frame: Frame, plots: PhotometryPlots) -> Table:
    found = detection.detect(
        frame.data,
        frame.mask,
        frame.hidden,
        aperture=float(context.parameter("initial_aper")),
        smoothing=float(context.parameter("initial_r0")),
        sn=float(context.parameter("sn")),
        minarea=int(context.parameter("minarea")),
        gain=frame.gain,
        bg_size=frame.bg_size,
        temporary=context.temporary,
        executable=context.settings.stdpipe_sextractor,
        log=context.log,
    )
    write_image(context.path(products.SEGMENTATION), found.segmentation)
    write_image(context.path(products.FILTERED), found.filtered)
    if context.parameter("inspect_bg"):
        write_image(context.path(products.IMAGE_BG), found.background)
        write_image(context.path(products.IMAGE_RMS), found.background_rms)
    if context.parameter("prefilter_detections"):
        detection.flag_bad_shapes(found.objects, context.log)
        plots.shapes(found.objects)
    return found.objects


def _measure_objects(
    context: StageContext, frame: Frame, found: Table, plots: PhotometryPlots
) -> tuple[Table, Apertures]:
    override = context.parameter("fwhm_override")
    fwhm = float(override) if override else detection.measured_fwhm(found, context.log)
    plots.widths(found, fwhm)
    apertures = _apertures(context, fwhm)
    context.progress(0.2, "aperture photometry")
    sn = float(context.parameter("sn"))
    objects = measure(found, frame.exposure, apertures, sn=sn, log=context.log)
    if not len(objects):
        raise Permanent(
            f"None of the {len(found)} detections has a signal-to-noise ratio above {sn:g} in an "
            f"aperture of {apertures.radius:.1f} px: lower sn, or change rel_aper."
        )
    if context.parameter("photometry_method") == "psf":
        context.progress(0.25, "fitting profiles")
        programs = Programs.of(context.settings, context.temporary)
        objects = fit_profiles(objects, frame.exposure, apertures, programs, log=context.log)
    context.log(f"{len(objects)} objects measured")
    context.config["fwhm"] = fwhm
    context.measure("fwhm", fwhm, unit="px", doc="FWHM of the stars.")
    context.measure("aperture_radius", apertures.radius, unit="px", doc="Radius of the aperture.")
    plots.objects(frame.data, frame.mask, objects)
    return objects, apertures


def _catalogue(context: StageContext, frame: Frame, wcs: WCS) -> tuple[Table, Columns]:
    context.progress(0.02, "reading the catalogue")
    name = str(context.parameter("cat_name") or "")
    if not name:
        raise Permanent("No reference catalogue is chosen: set cat_name.")
    stars = get_catalogue(
        name,
        sky_field(wcs, frame.shape),
        frame.filter,
        limit=context.parameter("cat_limit"),
        cat_file=context.parameter("cat_file"),
        task_folder=context.folder,
        settings=context.settings,
        remote=Remote.of(context),
    )
    label = str(context.parameter("cat_file")) if name == LOCAL else name
    columns = columns_for(stars, frame.filter, label)
    context.config["cat_col_mag"] = columns.mag
    for key, value in (
        ("cat_col_mag_err", columns.mag_err),
        ("cat_col_color_mag1", columns.color_mag1),
        ("cat_col_color_mag2", columns.color_mag2),
    ):
        if value is not None:
            context.config[key] = value
    return stars, columns


def _calibrate(
    context: StageContext,
    frame: Frame,
    objects: Table,
    stars: Table,
    columns: Columns,
    wcs: WCS,
    apertures: Apertures,
) -> tuple[Calibration, Table]:
    fwhm = apertures.fwhm * pixel_scale(wcs)
    override = context.parameter("sr_override")
    radius = float(override) / 3600 if override else 0.5 * fwhm
    chosen = stars
    if context.parameter("filter_blends"):
        chosen = calibration.without_blends(chosen, columns, 2 * fwhm, context.log)
    limits = [
        float(each)
        for each in (context.parameter("cat_mag_upper"), context.parameter("cat_limit"))
        if each is not None
    ]
    chosen = calibration.within_magnitudes(
        chosen, columns, context.parameter("cat_mag_lower"), min(limits, default=None)
    )
    if not len(chosen):
        raise Permanent(
            f"None of the {len(stars)} catalogue stars in the field is left for the calibration: "
            "check cat_limit, cat_mag_lower, cat_mag_upper and filter_blends."
        )
    model = calibration.Model(
        spatial_order=int(context.parameter("spatial_order")),
        bg_order=context.parameter("bg_order"),
        use_color=bool(context.parameter("use_color")),
        force_color_term=context.parameter("force_color_term"),
        nonlin=bool(context.parameter("nonlin")),
    )
    sn = float(context.parameter("sn"))
    if context.parameter("diagnose_color"):
        calibration.scan_colors(objects, chosen, model, radius=radius, sn=sn, log=context.log)
    solution = calibration.calibrate(
        objects,
        chosen,
        columns,
        model,
        shape=frame.shape,
        radius=radius,
        sn=sn,
        confusion=_confusion(context, frame, objects, apertures),
        log=context.log,
    )
    calibration.report(solution, context.log)
    return solution, chosen


def _confusion(context: StageContext, frame: Frame, objects: Table, apertures: Apertures) -> float:
    """What unseen stars scatter the fluxes by; the fit of profiles counts it in its errors."""
    if context.parameter("photometry_method") == "psf":
        return 0.0
    noise = confusion_noise(objects, frame.exposure, apertures, log=context.log)
    context.measure(
        "confusion_noise", noise, unit="adu", doc="Scatter of fluxes by stars too faint to be seen."
    )
    return noise


def _limit(
    context: StageContext, objects: Table, stars: Table, columns: Columns, plots: PhotometryPlots
) -> float | None:
    sn = float(context.parameter("sn"))
    good = objects[np.asarray(objects["flags"]) == 0]
    sample = good if len(good) >= 10 else objects
    plots.limits(objects, stars, columns.mag, sn)
    with np.errstate(all="ignore"):
        limit = pipeline.get_detection_limit(sample, sn=sn, verbose=context.log)
    return None if limit is None or not np.isfinite(limit) else float(limit)


def _keep_uncalibrated(
    context: StageContext, frame: Frame, objects: Table, apertures: Apertures
) -> None:
    """What can be said of an image that shows nobody knows which part of the sky."""
    context.degrade(
        "The image has no usable astrometric solution: positions are pixels and magnitudes "
        "instrumental. Set blind_match_wcs, so that Astrometry.Net looks for one."
    )
    files.remove(context.path(products.IMAGE_WCS))
    context.progress(0.8, "measuring the targets")
    targets = _targets(context, frame, None, apertures, None)
    _write_table(context, products.OBJECTS, objects)
    context.measure("filter", frame.filter, doc="Filter of the image.")
    context.measure("n_objects", len(objects), doc="Measured objects.")
    keep_targets(context, targets)


def _targets(
    context: StageContext,
    frame: Frame,
    wcs: WCS | None,
    apertures: Apertures,
    solution: Calibration | None,
) -> Table | None:
    targets = context.config.get("targets") or []
    if not targets:
        return None
    table = measure_targets(
        targets,
        wcs,
        frame.exposure,
        apertures,
        solution,
        filter_name=frame.filter,
        sn=float(context.parameter("sn")),
        centroid=bool(context.parameter("centroid_targets")),
        log=context.log,
    )
    write_votable(table, context.path(products.TARGET))
    write_target_cutouts(
        context.folder,
        table,
        frame.data,
        frame.mask,
        fits.Header() if wcs is None else wcs.to_header(relax=True),
        radius=int(context.parameter("cutout_size")),
        time=context.config.get("time"),
        survey_image=wcs is not None and context.parameter("cat_name") != LOCAL,
        filter_name=frame.filter,
        remote=Remote.of(context),
        degrade=context.degrade,
    )
    return table


def _write_tables(
    context: StageContext,
    objects: Table,
    stars: Table,
    solution: Calibration,
    apertures: Apertures,
) -> None:
    for name, table in ((products.OBJECTS, objects), (products.CATALOGUE, stars)):
        _write_table(context, name, table)
    content = {**solution.as_plain(), "fwhm": apertures.fwhm, "aperture": apertures.radius}
    with context.path(products.PHOTOMETRY_PICKLE).open("wb") as file:
        pickle.dump(content, file)


def _write_table(context: StageContext, name: str, table: Table) -> None:
    plain = table.copy()
    plain.meta.clear()
    plain.write(context.path(name), format="parquet", overwrite=True)


def _keep_results(
    context: StageContext,
    frame: Frame,
    objects: Table,
    stars: Table,
    solution: Calibration,
    limit: float | None,
) -> None:
    config, put = context.config, context.measure
    config.update(zp=solution.zero_point, zp_err=solution.zero_point_error)
    for name, value in (("mag_limit", limit), ("color_term", solution.color_term)):
        if value is not None:
            config[name] = value
    fwhm_arcsec = float(config["fwhm"]) * float(config["pixscale"]) * 3600
    put("fwhm_arcsec", fwhm_arcsec, unit="arcsec", doc="FWHM of the stars.")
    put("filter", frame.filter, doc="Filter of the image.")
    put(
        "zero_point",
        solution.zero_point,
        error=solution.zero_point_error,
        unit="mag",
        doc="Zero point at the image's centre for -2.5 log10(ADU) in the aperture, colour zero.",
    )
    put("zero_point_scatter", solution.scatter, unit="mag", doc="Robust scatter of calibrators.")
    put(
        "color_term",
        solution.color_term,
        error=solution.color_term_error,
        unit="mag/mag",
        doc="Catalogue magnitude = instrumental + zero point + colour term * colour.",
    )
    if solution.color_term_error is not None:
        put("color_term_error", solution.color_term_error, unit="mag/mag", doc="Its error.")
    put("color_name", solution.columns.color_name, doc="Colour of the colour term.")
    put(
        "astrometric_residual",
        solution.astrometric_residual,
        unit="arcsec",
        doc="Rms offset of calibrators from the catalogue per coordinate.",
    )
    put("mag_limit", limit, unit="mag", doc="Magnitude of the smallest signal-to-noise ratio.")
    for name, count, doc in (
        ("n_objects", len(objects), "Measured objects."),
        ("n_catalogue", len(stars), "Catalogue stars in the field."),
        ("n_matched", solution.matched, "Objects that lie on a catalogue star."),
        ("n_calibrators", solution.calibrators, "Stars in the final photometric fit."),
    ):
        config[name] = count
        put(name, count, doc=doc)
