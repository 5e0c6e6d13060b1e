"""Which objects of the image are in no catalogue? A search for transients without a template."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from stdpipe.astrometry import spherical_distance, spherical_match

from skyrelay import products
from skyrelay.errors import Permanent
from skyrelay.imaging import candidates, cutouts
from skyrelay.imaging.candidates import Field
from skyrelay.imaging.flags import BAD_SHAPE, MEASUREMENT
from skyrelay.imaging.point_spread import good_stars, measure_point_spread
from skyrelay.imaging.science_image import ScienceImage, load
from skyrelay.imaging.sky import sky_of
from skyrelay.imaging.unexplained import Expectation, expect
from skyrelay.imaging.unstacked import write_unstacked
from skyrelay.imaging.votable import write_votable
from skyrelay.imaging.wcs import to_pixels
from skyrelay.settings import Settings
from skyrelay.sky import known
from skyrelay.sky.catalogues import LOCAL
from skyrelay.sky.columns import POSITION_ERROR, floats
from skyrelay.sky.filters import known_filter
from skyrelay.sky.remote import Remote
from skyrelay.sky.targets import resolve
from skyrelay.stage.context import StageContext
from skyrelay.store.inputs import TASKS, find_input

Selection = NDArray[np.bool_]
Values = NDArray[np.float64]

#: So many candidates are kept, the brightest: a person has to look at them.
_MOST = 100
#: Bits of ``flags`` that mean a broken measurement; blends and neighbours are none.
_BROKEN = MEASUREMENT & ~BAD_SHAPE
#: The match radius is half the FWHM, but at least this many pixels.
_LEAST_RADIUS = 1.0
#: Light must exceed what the catalogue explains by so many sigma.
_EXCESS = 4.0
#: An object this much brighter (mag) than its counterpart, and by so many sigma, is not only it,
#: even where both lie on each other: so it is in the middle of a galaxy. Few stars vary as much.
_OUTSHINES, _OUTSHINES_EXCESS = 0.5, 5.0
#: An object farther from its counterpart than so many sigma is not (only) that counterpart.
_DISPLACED = 2.5

#: Column with the distance in arcsec to the nearest entry of the reference catalogue.
_COUNTERPART = "cat_distance"
#: Arcsec by which the positions of one and the same source differ between surveys.
_SAME_PLACE = 0.3


def run(context: StageContext) -> None:
    """Find objects that neither the reference catalogue nor the surveys know.

    Raises
    ------
    Permanent
        If photometry has not been done.
    """
    science = load(context)
    objects = science.objects
    if "mag_calib" not in objects.colnames:
        raise Permanent("The objects have no calibrated magnitudes: run the photometry first.")
    found = objects.copy()
    context.log(f"{len(found)} objects in the image")
    found = _good(context, found)
    found = _in_region(context, found)
    found = _not_in_other_tasks(context, science, found)
    context.progress(0.2, "comparing with the catalogue")
    found = _not_in_catalogue(context, science, found)
    context.progress(0.5, "asking the surveys")
    found = _not_in_surveys(context, science, found)
    found = _brightest(context, found)
    context.progress(0.8, "writing the candidates")
    _write(context, science, found)


def _good(context: StageContext, found: Table) -> Table:
    """Objects whose measurement is not broken, and that are bright enough."""
    flags = np.asarray(found["flags"]).astype(int)
    sn = 1 / np.ma.filled(np.ma.asarray(found["magerr"], dtype=float), np.inf)
    found = found[((flags & _BROKEN) == 0) & (sn >= float(context.parameter("sn")))]
    context.log(f"{len(found)} left with a good measurement")
    return found


def _in_region(context: StageContext, found: Table) -> Table:
    centre, radius = context.parameter("simple_center"), context.parameter("simple_sr0")
    if not centre:
        return found
    position = resolve(str(centre), Remote.of(context))
    distance = spherical_distance(*position, np.asarray(found["ra"]), np.asarray(found["dec"]))
    limit = float(radius) if radius is not None else 1.0
    found = found[distance < limit]
    context.log(f"{len(found)} left within {limit:g} degrees of {centre}")
    return found


def _not_in_other_tasks(context: StageContext, science: ScienceImage, found: Table) -> Table:
    """Without what other tasks have measured, as far as it can be known."""
    radius = _match_radius(science) * science.pixel_scale
    for task in context.parameter("simple_others") or []:
        try:
            other = _objects_of(task, context.settings)
        except Permanent as error:
            context.degrade(f"The objects of task {task} were not compared: {error}")
            continue
        rows, *_ = spherical_match(found["ra"], found["dec"], other["ra"], other["dec"], radius)
        found = found[~np.isin(np.arange(len(found)), rows)]
        context.log(f"{len(found)} left that are not in task {task}")
    return found


def _objects_of(task: int, settings: Settings) -> Table:
    """The objects of another task, with their positions on the sky.

    Raises
    ------
    Permanent
        If it has none.
    """
    path = find_input(f"{TASKS}/{task}/{products.OBJECTS}", settings)
    try:
        objects = Table.read(path, format="parquet")
    except Exception as error:
        # Anybody who may change that task may have put any file there.
        raise Permanent(f"its {products.OBJECTS} cannot be read ({error}).") from error
    if not {"ra", "dec"} <= set(objects.colnames):
        raise Permanent("they have no positions on the sky.")
    return objects


def _match_radius(science: ScienceImage) -> float:
    """Pixels within which two positions are the same."""
    return max(_LEAST_RADIUS, 0.5 * science.fwhm)


def _not_in_catalogue(context: StageContext, science: ScienceImage, found: Table) -> Table:
    path = context.path(products.CATALOGUE)
    if not path.exists():
        raise Permanent("There is no reference catalogue in the task: run the photometry first.")
    stars = _stars_in_pixels(context, science, Table.read(path))
    mesh = min(256, min(science.shape) // 2)
    sky, noise = sky_of(science.image, science.mask, mesh, science.fwhm)
    field = Field(
        difference=np.where(science.mask, 0.0, science.image - sky),
        noise=np.sqrt(noise**2 + np.clip(science.image - sky, 0, None) / science.gain),
        convolved=np.zeros(science.shape),
        mask=science.mask,
        profile=np.zeros((1, 1)),
        fwhm=science.fwhm,
    )
    profile = measure_point_spread(
        field.difference, good_stars(science.objects, science.fwhm), science.fwhm, context.log
    )
    expectation = expect(
        found,
        stars,
        fwhm=science.fwhm,
        profile=profile,
        aperture=float(context.parameter("rel_aper")) * science.fwhm,
        radius=_match_radius(science),
    )
    new = _unknown(context, science, found, expectation)
    found[_COUNTERPART] = expectation.distance * science.pixel_scale * 3600
    found = found[new]
    context.log(f"{len(found)} left after the comparison with the reference catalogue")
    if context.parameter("simple_prefilter") and len(found):
        found = found[_star_like(field, profile, found)]
        context.log(f"{len(found)} left that are not sharper than a star")
    return found


def _stars_in_pixels(context: StageContext, science: ScienceImage, stars: Table) -> Table:
    ra, dec = (
        np.asarray(stars[next(name for name in names if name in stars.colnames)], dtype=float)
        for names in (("RAJ2000", "ra"), ("DEJ2000", "dec"))
    )
    x, y = to_pixels(science.solved, ra, dec)
    magnitude, magnitude_error = _magnitudes(context, stars)
    error = (
        floats(stars["e_RAJ2000"])
        if "e_RAJ2000" in stars.colnames
        else np.full(len(stars), POSITION_ERROR)
    )
    table = Table({"x": x, "y": y, "xyerr": error / science.pixel_scale})
    table["mag"], table["magerr"] = magnitude, magnitude_error
    return table[np.isfinite(x) & np.isfinite(y)]


def _magnitudes(context: StageContext, stars: Table) -> tuple[Values, Values]:
    """Magnitudes in the passband of the image, and their errors; 0 where the catalogue has none.

    A star whose colour is not known is taken to be as red as the others are.
    """
    unknown = np.full(len(stars), np.nan)

    def column(key: str) -> Values:
        name = str(context.config.get(key) or "")
        return floats(stars[name]) if name in stars.colnames else unknown

    colour = column("cat_col_color_mag1") - column("cat_col_color_mag2")
    colour = np.where(np.isfinite(colour), colour, np.nan_to_num(np.nanmedian([0.0, *colour])))
    term = float(context.config.get("color_term") or 0.0)
    return column("cat_col_mag") - term * colour, np.nan_to_num(column("cat_col_mag_err"))


def _unknown(
    context: StageContext, science: ScienceImage, found: Table, expectation: Expectation
) -> Selection:
    """Objects without a counterpart, or much brighter than theirs, or brighter beside theirs.

    Those beside theirs are what new light on a galaxy looks like: the object's centre is drawn away
    from the galaxy's, by light that the catalogue does not know.
    """
    magnitude = floats(found["mag_calib"])
    matched = expectation.distance < _match_radius(science)
    brighter = expectation.nearest_magnitude - magnitude > float(
        context.parameter("simple_mag_diff")
    )
    exceeding = expectation.excess_sn > _EXCESS
    beside = matched & exceeding & (expectation.displacement > _DISPLACED)
    outshining = matched & (expectation.excess_sn > _OUTSHINES_EXCESS)
    outshining &= expectation.nearest_magnitude - magnitude > _OUTSHINES
    new = ~matched | brighter | beside | outshining
    context.log(
        f"{int((~matched).sum())} have no counterpart in the reference catalogue, "
        f"{int((matched & brighter).sum())} are much brighter than theirs, "
        f"{int((beside & ~brighter).sum())} are brighter and lie beside theirs, "
        f"{int((outshining & ~beside & ~brighter).sum())} outshine theirs"
    )
    if context.parameter("simple_blends"):
        new = np.asarray(new & exceeding)
        context.log(f"{int(new.sum())} of them are no blends of catalogue stars")
    return np.asarray(new)


def _star_like(field: Field, profile: Values, found: Table) -> Selection:
    """Objects that are not sharper than a point source (cosmic rays, hot pixels).

    That they are wider is no reason: light on a galaxy is.
    """
    judged = candidates.measure(
        Field(field.difference, field.noise, field.convolved, field.mask, profile, field.fwhm),
        Table({"x": found["x"], "y": found["y"]}),
    )
    return np.asarray(judged["d_sharp"]) < 0


def _not_in_surveys(context: StageContext, science: ScienceImage, found: Table) -> Table:
    """Without what VizieR's surveys and SkyBoT know.

    With a local catalogue these are only asked if the configuration says so: who brings a
    catalogue may have no network.
    """
    if _asks(context, "simple_vizier", "The surveys in VizieR"):
        radius = _match_radius(science) * science.pixel_scale

        def is_same(objects: Table, entries: Table) -> Selection:
            same = _is_as_bright(context, objects, entries)
            return np.asarray(same & ~_is_counterpart(objects, entries, 3600 * radius))

        remote = Remote.of(context)
        found = found[~known.in_surveys(found, radius, remote, context.degrade, is_same)]
    if _asks(context, "simple_skybot", "SkyBoT"):
        remote = Remote.of(context)
        found = found[~known.in_solar_system(found, science.time, remote, context.degrade)]
    return found


def _is_as_bright(context: StageContext, objects: Table, entries: Table) -> Selection:
    filter_name = known_filter(str(context.parameter("filter") or ""))
    most = context.parameter("simple_mag_diff")
    if not most or filter_name is None:
        return np.ones(len(objects), dtype=bool)
    return known.is_as_bright(objects, entries, filter_name, float(most))


def _is_counterpart(objects: Table, entries: Table, radius: float) -> Selection:
    """Whether a survey's entry is the one of the reference catalogue that the object exceeds.

    What was found to outshine it, or to lie beside it, is not explained by it a second time.
    """
    distance = np.asarray(objects[_COUNTERPART], dtype=float)
    away = np.asarray(entries["angDist"], dtype=float)
    return np.asarray((distance < radius) & (np.abs(away - distance) < _SAME_PLACE))


def _asks(context: StageContext, name: str, what: str) -> bool:
    if context.config.get(name) is None and context.parameter("cat_name") == LOCAL:
        context.log(f"{what} is not asked, as the catalogue is local; {name}=true would do it")
        return False
    return bool(context.parameter(name))


def _brightest(context: StageContext, found: Table) -> Table:
    found = found[np.argsort(np.asarray(found["mag_calib"], dtype=float), kind="stable")]
    if len(found) > _MOST:
        context.degrade(
            f"Only the {_MOST} brightest of {len(found)} candidates are kept: raise sn, or look "
            "only around a position (simple_center)."
        )
        found = found[:_MOST]
    return found


def _write(context: StageContext, science: ScienceImage, found: Table) -> None:
    found = cutouts.name_candidates(found)
    write_votable(found, context.path(products.CANDIDATES_SIMPLE))
    cutouts.write_regions(context.path(products.CANDIDATES_SIMPLE_REGIONS), found, science, "green")
    cutouts.write_cutouts(
        context.path(products.CANDIDATES_SIMPLE_CUTOUTS),
        found,
        {"image": science.image.astype(np.float32), "mask": science.mask},
        science,
        int(context.parameter("cutout_size")),
        file_name=products.IMAGE,
    )
    write_unstacked(context, science, found, context.path(products.CANDIDATES_SIMPLE_CUTOUTS))
    context.measure("n_candidates", len(found), doc="Objects that no catalogue knows.")
    context.log(f"{len(found)} candidates")
