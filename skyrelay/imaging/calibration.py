"""Which zero point turns the image's magnitudes into the catalogue's?

The convention is stdpipe's: with ``mag = -2.5 log10(flux in ADU)``,

    catalogue magnitude = mag + zero point(x, y) + colour term * catalogue colour,

so ``mag_calib = mag + zero point(x, y)`` is the magnitude in the image's own passband, equal to
the catalogue's for an object of colour zero.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.stats import permutation_test, spearmanr
from stdpipe import astrometry, pipeline

from skyrelay.errors import Permanent
from skyrelay.imaging.arrays import Log
from skyrelay.imaging.astrometry import offsets
from skyrelay.imaging.flags import BLENDED, NEIGHBOURS
from skyrelay.sky.catalogues import Columns
from skyrelay.sky.columns import floats
from skyrelay.sky.filters import FILTERS

#: SExtractor's bits for objects with neighbours or deblended ones: taken only if there are
#: not enough clean ones.
_NEIGHBOURS = NEIGHBOURS | BLENDED
_ENOUGH = 20
#: Stars per parameter of the model below which a simpler model is fitted.
_STARS_PER_PARAMETER = 4
#: A neighbour less than this much fainter than a star spoils its photometry.
_BLEND_CONTRAST = 4.0
#: Scatter that flat field, changing seeing and catalogue may add to the errors, in mag. A smaller
#: bound makes the fit follow the few brightest stars, and its error a fiction.
_MOST_INTRINSIC = 0.1
#: Stars farther from the model than this many (total) errors are left out.
_THRESHOLD = 3.0
#: Change of a magnitude per relative change of the flux.
_MAGNITUDE = 2.5 / np.log(10)


@dataclass(frozen=True)
class Model:
    """What is fitted: orders of the polynomials, colour, non-linearity."""

    spatial_order: int
    bg_order: int | None
    use_color: bool
    force_color_term: float | None
    nonlin: bool

    @property
    def parameters(self) -> int:
        """Number of free parameters."""
        count = _terms(self.spatial_order) + int(self.nonlin)
        count += 0 if self.bg_order is None else _terms(self.bg_order)
        return count + int(self.use_color and self.force_color_term is None)


@dataclass(frozen=True)
class Calibration:
    """The photometric solution of an image.

    Attributes
    ----------
    match : dict
        stdpipe's result of the fit; its indices are those of the tables that were given.
    zero_point, zero_point_error : float
        At the centre of the image, in mag. The error is that of the fit, scaled to the actual
        scatter; an error of the catalogue's own zero point is not in it.
    color_term, color_term_error : float or None
        In mag/mag; the error is None where the term was fixed.
    scatter : float
        Robust scatter of the calibrators about the model, in mag.
    astrometric_residual : float
        Residual per coordinate of the calibrators, quadratic mean of both, in arcsec.
    confusion : float
        What unseen stars scatter a flux by, in ADU.
    """

    match: dict[str, Any]
    model: Model
    columns: Columns
    zero_point: float
    zero_point_error: float
    color_term: float | None
    color_term_error: float | None
    scatter: float
    astrometric_residual: float
    confusion: float

    @property
    def matched(self) -> int:
        """Number of objects that lie on a catalogue star."""
        return len(self.match["oidx"])

    @property
    def calibrators(self) -> int:
        """Number of stars that the final fit used."""
        return int(np.sum(self.match["idx"]))

    def apply(self, objects: Table) -> None:
        """Add ``mag_calib``, ``mag_calib_err``, and what of that is ``confusion_err`` (mag)."""
        zero_point, error = self.at(objects)
        with np.errstate(divide="ignore", invalid="ignore"):
            confusion = _MAGNITUDE * self.confusion / floats(objects["flux"])
        confusion[~(confusion >= 0)] = np.nan if self.confusion else 0.0
        objects["mag_calib"] = floats(objects["mag"]) + zero_point
        objects["confusion_err"] = confusion
        objects["mag_calib_err"] = np.sqrt(floats(objects["magerr"]) ** 2 + error**2 + confusion**2)

    def at(self, objects: Table) -> tuple[Any, Any]:
        """Zero point and its error at the positions of objects."""
        x, y, mag = (floats(objects[name]) for name in ("x", "y", "mag"))
        zero_fn = self.match["zero_fn"]
        magnitude_matters = self.model.bg_order is not None or self.model.nonlin
        options = {"mag": mag} if magnitude_matters else {}
        error = zero_fn(x, y, **options, get_err=True, add_intrinsic_rms=True)
        return zero_fn(x, y, **options), error

    def as_plain(self) -> dict[str, Any]:
        """The solution without the functions in it, as it can be stored."""
        plain = {key: value for key, value in self.match.items() if not callable(value)}
        return {**plain, "zero_point": self.zero_point, "zero_point_error": self.zero_point_error}


def without_blends(stars: Table, columns: Columns, radius: float, log: Log) -> Table:
    """Catalogue stars that have no neighbour within ``radius`` (degrees) to spoil them."""
    one, two, _ = astrometry.spherical_match(
        stars["RAJ2000"], stars["DEJ2000"], stars["RAJ2000"], stars["DEJ2000"], radius
    )
    magnitude = floats(stars[columns.mag])
    # A neighbour without a magnitude may be bright.
    contrast = magnitude[two] - magnitude[one]
    spoils = (one != two) & ~(contrast > _BLEND_CONTRAST)
    good = np.ones(len(stars), bool)
    good[one[spoils]] = False
    log(f"{np.count_nonzero(~good)} catalogue stars have a neighbour within "
        f"{radius * 3600:.1f} arcsec: left out")  # fmt: skip
    return stars[good]


def within_magnitudes(
    stars: Table, columns: Columns, lower: float | None, upper: float | None
) -> Table:
    """Catalogue stars between the brightest (``lower``) and faintest magnitude to use."""
    magnitude = floats(stars[columns.mag])
    good = np.isfinite(magnitude)
    if lower is not None:
        good &= magnitude >= lower
    if upper is not None:
        good &= magnitude <= upper
    return stars[good]


def calibrate(
    objects: Table,
    stars: Table,
    columns: Columns,
    model: Model,
    *,
    shape: tuple[int, int],
    radius: float,
    sn: float,
    confusion: float = 0.0,
    log: Log,
) -> Calibration:
    """Fit the photometric model to the objects that lie on catalogue stars.

    Parameters
    ----------
    shape : tuple of int
        Shape of the image.
    radius : float
        Match radius in degrees.
    sn : float
        Smallest signal-to-noise ratio of a calibrator.
    confusion : float
        What unseen stars scatter a flux by, in ADU.

    Raises
    ------
    Permanent
        If no or too few objects lie on catalogue stars.
    """
    usable = _matching(objects, stars, radius, log)
    flags = np.asarray(objects["flags"])[usable]
    clean = int(np.sum(flags == 0))
    accept = _NEIGHBOURS
    snr = max(sn, 10.0) if clean >= 2 * _ENOUGH else sn
    available = int(np.sum((flags & ~accept) == 0))
    model = _affordable(model, columns, available, log)
    with_color = model.use_color or model.force_color_term is not None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        match = pipeline.calibrate_photometry(
            objects,
            stars,
            sr=radius,
            order=model.spatial_order,
            bg_order=model.bg_order,
            nonlin=model.nonlin,
            cat_col_mag=columns.mag,
            cat_col_mag_err=columns.mag_err,
            cat_col_mag1=columns.color_mag1 if with_color else None,
            cat_col_mag2=columns.color_mag2 if with_color else None,
            use_color=model.use_color,
            force_color_term=model.force_color_term,
            accept_flags=accept,
            threshold=_THRESHOLD,
            max_intrinsic_rms=_MOST_INTRINSIC,
            sn=snr,
            update=False,
            verbose=log,
        )
    if match is None or not np.sum(match["idx"]):
        raise Permanent(
            f"The photometric calibration failed: {available} of the objects in the image lie on "
            "good catalogue stars, and the fit needs more. Check the astrometric solution, the "
            "filter and the limits of the catalogue."
        )
    return _calibration(match, model, columns, objects, stars, shape, confusion)


def report(calibration: Calibration, log: Log) -> None:
    """Write the solution to the log, with what the residuals still depend on."""
    log(f"Zero point at the centre is {calibration.zero_point:.4f} +- "
        f"{calibration.zero_point_error:.4f} mag, scatter {calibration.scatter:.4f} mag, "
        f"{calibration.calibrators} of {calibration.matched} matched stars used")  # fmt: skip
    match = calibration.match
    used = match["idx"]
    residual = (match["zero"] - match["zero_model"])[used]
    for name, values in (
        ("magnitude", match["cmag"]),
        ("colour", match["color"]),
        ("x", match["ox"]),
        ("y", match["oy"]),
    ):
        values = values[used]
        if len(values) >= 10 and np.ptp(values) > 0:
            correlation, chance = _correlation(values, residual)
            verdict = "; the model may lack something" if chance < 0.001 else ""
            log(f"Residuals against {name}: correlation {correlation:+.2f}, by chance in "
                f"{100 * chance:.2f} % of shuffled samples{verdict}")  # fmt: skip


def scan_colors(
    objects: Table, stars: Table, model: Model, *, radius: float, sn: float, log: Log
) -> None:
    """Report scatter and colour term for every filter and colour that the catalogue has."""
    for each in FILTERS.values():
        if each.column not in stars.colnames:
            continue
        error = f"e_{each.column}" if f"e_{each.column}" in stars.colnames else None
        for one, two in each.colors:
            pair = FILTERS[one].column, FILTERS[two].column
            if not set(pair) <= set(stars.colnames):
                continue
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                match = pipeline.calibrate_photometry(
                    objects, stars, sr=radius, order=model.spatial_order, cat_col_mag=each.column,
                    cat_col_mag_err=error, cat_col_mag1=pair[0], cat_col_mag2=pair[1],
                    threshold=_THRESHOLD, max_intrinsic_rms=_MOST_INTRINSIC, sn=sn,
                    update=False, verbose=False,
                )  # fmt: skip
            if match is not None:
                residual = (match["zero"] - match["zero_model"])[match["idx"]]
                log(f"Filter {each.name}, colour {one} - {two}: colour term "
                    f"{match['color_term']:+.3f} +- {match['color_term_err']:.3f}, scatter "
                    f"{_robust(residual):.4f} mag, {len(residual)} stars")  # fmt: skip


def _matching(objects: Table, stars: Table, radius: float, log: Log) -> Any:
    """Indices of the objects that lie on a catalogue star."""
    one, _, _ = astrometry.spherical_match(
        objects["ra"], objects["dec"], stars["RAJ2000"], stars["DEJ2000"], radius
    )
    if not len(one):
        raise Permanent(
            f"None of the {len(objects)} objects in the image lies within {radius * 3600:.1f} "
            f"arcsec of one of the {len(stars)} catalogue stars: the astrometric solution or the "
            "catalogue is of another field."
        )
    return np.unique(one)


def _affordable(model: Model, columns: Columns, available: int, log: Log) -> Model:
    """The model, or a simpler one where the stars are too few for it."""
    if columns.color_mag1 is None and (model.use_color or model.force_color_term is not None):
        log("The catalogue has no colour for this filter: no colour term")
        model = Model(model.spatial_order, model.bg_order, False, None, model.nonlin)
    wanted = model
    while available < _STARS_PER_PARAMETER * model.parameters:
        if model.bg_order is not None:
            model = Model(
                model.spatial_order, None, model.use_color, model.force_color_term, model.nonlin
            )
        elif model.spatial_order:
            model = Model(
                model.spatial_order - 1, None, model.use_color, model.force_color_term, model.nonlin
            )
        elif model.nonlin:
            model = Model(0, None, model.use_color, model.force_color_term, False)
        elif model.use_color and model.force_color_term is None:
            model = Model(0, None, False, None, False)
        else:
            break
    if model != wanted:
        log(f"Warning: {available} stars are too few for {wanted}; fitting {model}")
    return model


def _calibration(
    match: dict[str, Any],
    model: Model,
    columns: Columns,
    objects: Table,
    stars: Table,
    shape: tuple[int, int],
    confusion: float,
) -> Calibration:
    used = match["idx"]
    x, y = np.array([(shape[1] - 1) / 2]), np.array([(shape[0] - 1) / 2])
    color_term, error = match["color_term"], match["color_term_err"]
    matched = objects[match["oidx"][used]]
    off = offsets(matched["ra"], matched["dec"], stars[match["cidx"][used]])
    # A magnitude-dependent model is quoted for a typical calibrator.
    typical = np.array([np.median(match["omag"][used])])
    mag = typical if model.bg_order is not None or model.nonlin else None
    return Calibration(
        match=match,
        model=model,
        columns=columns,
        zero_point=float(match["zero_fn"](x, y, mag)[0]),
        zero_point_error=float(match["zero_fn"](x, y, mag, get_err=True)[0]),
        color_term=None if color_term is None else float(color_term),
        color_term_error=None if error is None else float(error),
        scatter=_robust((match["zero"] - match["zero_model"])[used]),
        astrometric_residual=float(np.sqrt(np.mean(off**2))),
        confusion=confusion,
    )


def _correlation(values: Any, residual: Any) -> tuple[float, float]:
    """Spearman's rank correlation, and how often shuffling gives a larger one by chance."""
    ranks = np.argsort(np.argsort(values)).astype(float)
    others = np.argsort(np.argsort(residual)).astype(float)
    result = permutation_test(
        (ranks,),
        lambda sample, axis: np.tensordot(
            np.asarray(sample) - ranks.mean(), others - others.mean(), axes=([axis], [0])
        ),
        permutation_type="pairings",
        n_resamples=10000,
        vectorized=True,
        batch=500,
        rng=0,
    )
    return float(spearmanr(values, residual)[0]), float(result.pvalue)


def _terms(order: int) -> int:
    return (order + 1) * (order + 2) // 2


def _robust(values: Any) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
