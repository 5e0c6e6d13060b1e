"""Which parameters are there? Names and meanings are those of STDWeb's configuration keys."""

from __future__ import annotations

from typing import Any

from skyrelay import time_limits
from skyrelay.parameters.definition import Kind, Parameter

_INSPECT = ("inspect",)
_PHOTOMETRY = ("photometry",)
_SIMPLE = ("simple_transients",)
_SUBTRACTION = ("subtraction",)
_MEASURING = ("photometry", "subtraction")

_GENERAL = (
    Parameter(
        name="target",
        kind=Kind.TEXT,
        steps=_INSPECT,
        help="Targets, one per line: a name, coordinates, or pixels as x=… y=….",
    ),
    Parameter(
        name="timing",
        kind=Kind.BOOLEAN,
        default=False,
        help="Begin every log line with the seconds since the start of the stage.",
    ),
    Parameter(
        name="offline",
        kind=Kind.BOOLEAN,
        default=False,
        help="Ask nobody over the network: the stages do with what is at hand, and say what they "
        "leave out.",
    ),
    Parameter(
        name="time_limit",
        kind=Kind.FLOAT,
        unit="s",
        minimum=1,
        maximum=time_limits.LONGEST,
        help="Stop a stage that takes longer than this; otherwise each stage has its own limit.",
    ),
    Parameter(
        name="skyportal_instrument_name",
        kind=Kind.TEXT,
        help="Instrument under which SkyPortal gets the photometry.",
    ),
)

_INSPECTION = (
    Parameter(
        name="time",
        kind=Kind.TEXT,
        steps=_INSPECT,
        help="Time of the observation (UTC); from the header if empty.",
    ),
    Parameter(
        name="gain",
        kind=Kind.FLOAT,
        unit="e-/ADU",
        minimum=1e-6,
        maximum=1e6,
        steps=_INSPECT,
        help="Gain; from the header if empty.",
    ),
    Parameter(
        name="saturation",
        kind=Kind.FLOAT,
        unit="ADU",
        minimum=0,
        steps=_INSPECT,
        help="Saturation level; from the header or the brightest pixels if empty.",
    ),
    Parameter(
        name="filter",
        kind=Kind.TEXT,
        steps=("inspect", "photometry"),
        help="Filter of the image; from the header if empty.",
    ),
    Parameter(
        name="mask_cosmics",
        kind=Kind.BOOLEAN,
        default=True,
        steps=_INSPECT,
        help="Find and mask cosmic rays (LACosmic).",
    ),
    Parameter(
        name="bg_size",
        kind=Kind.INTEGER,
        unit="px",
        minimum=4,
        maximum=100000,
        steps=("inspect", "photometry", "subtraction"),
        help="Size of the background mesh; 256, or half of a small image, if empty.",
    ),
)

_CATALOGUE = (
    Parameter(
        name="cat_name",
        kind=Kind.TEXT,
        steps=("inspect", "photometry", "simple_transients"),
        choices=(
            "gaiadr3syn",
            "ps1",
            "skymapper",
            "sdss",
            "atlas",
            "gaiaedr3",
            "2mass",
            "vhs",
            "local",
        ),
        help="Reference catalogue; by filter and declination if empty.",
    ),
    Parameter(
        name="cat_file",
        kind=Kind.TEXT,
        steps=("photometry", "simple_transients"),
        help="The local catalogue (cat_name=local), in the task's folder or under the data folder: "
        "any table that astropy reads with ra, dec, magnitudes and errors, or a folder of Parquet "
        "files by HEALPix cell (HATS), as `skyrelay catalogue import` makes it.",
    ),
    Parameter(
        name="cat_limit",
        kind=Kind.FLOAT,
        unit="mag",
        default=20.0,
        minimum=0,
        maximum=40,
        steps=("inspect", "photometry"),
        help="Faintest catalogue star that is used for calibration.",
    ),
)

_DETECTION = (
    Parameter(
        name="sn",
        kind=Kind.FLOAT,
        default=5.0,
        minimum=0.1,
        maximum=1000,
        steps=("photometry", "simple_transients", "subtraction"),
        help="Smallest signal-to-noise ratio of a detection.",
    ),
    Parameter(
        name="initial_aper",
        kind=Kind.FLOAT,
        unit="px",
        default=3.0,
        minimum=0.5,
        maximum=1000,
        steps=_PHOTOMETRY,
        help="Aperture radius of the first detection.",
    ),
    Parameter(
        name="initial_r0",
        kind=Kind.FLOAT,
        unit="px",
        default=0.0,
        minimum=0,
        maximum=100,
        steps=_PHOTOMETRY,
        help="Width of the smoothing kernel of the first detection; 0 for none.",
    ),
    Parameter(
        name="minarea",
        kind=Kind.INTEGER,
        unit="px",
        default=5,
        minimum=1,
        maximum=100000,
        steps=("photometry", "subtraction"),
        help="Smallest number of connected pixels of a detection.",
    ),
    Parameter(
        name="prefilter_detections",
        kind=Kind.BOOLEAN,
        default=True,
        steps=_PHOTOMETRY,
        help="Sort out detections whose shape is not a star's.",
    ),
)

_APERTURES = (
    Parameter(
        name="rel_aper",
        kind=Kind.FLOAT,
        unit="FWHM",
        default=1.0,
        minimum=0.1,
        maximum=50,
        steps=_MEASURING,
        help="Aperture radius.",
    ),
    Parameter(
        name="rel_bg1",
        kind=Kind.FLOAT,
        unit="FWHM",
        default=5.0,
        minimum=0.1,
        maximum=200,
        steps=_MEASURING,
        help="Inner radius of the background annulus.",
    ),
    Parameter(
        name="rel_bg2",
        kind=Kind.FLOAT,
        unit="FWHM",
        default=7.0,
        minimum=0.1,
        maximum=200,
        steps=_MEASURING,
        help="Outer radius of the background annulus.",
    ),
    Parameter(
        name="fwhm_override",
        kind=Kind.FLOAT,
        unit="px",
        minimum=0.3,
        maximum=1000,
        steps=_PHOTOMETRY,
        help="FWHM to use instead of the measured one.",
    ),
    Parameter(
        name="optimal_extraction",
        kind=Kind.BOOLEAN,
        default=False,
        steps=_MEASURING,
        help="Weight pixels by the PSF instead of summing an aperture.",
    ),
    Parameter(
        name="photometry_method",
        kind=Kind.TEXT,
        choices=("aperture", "optimal", "psf"),
        steps=_PHOTOMETRY,
        help="How fluxes are measured; optimal sets optimal_extraction, aperture and psf unset it. "
        "With psf a profile is fitted to all objects at once, for crowded fields; targets are "
        "measured in the aperture, on the same scale. As optimal_extraction says if empty.",
    ),
    Parameter(
        name="centroid_targets",
        kind=Kind.BOOLEAN,
        default=False,
        steps=_MEASURING,
        help="Shift the aperture of a target to its centroid.",
    ),
    Parameter(
        name="cutout_size",
        kind=Kind.INTEGER,
        unit="px",
        default=30,
        minimum=5,
        maximum=500,
        steps=("photometry", "simple_transients", "subtraction"),
        help="Half size of cut-outs.",
    ),
)

_CALIBRATION = (
    Parameter(
        name="spatial_order",
        kind=Kind.INTEGER,
        default=2,
        minimum=0,
        maximum=6,
        steps=_PHOTOMETRY,
        help="Order of the zero point's polynomial over the image.",
    ),
    Parameter(
        name="bg_order",
        kind=Kind.INTEGER,
        minimum=0,
        maximum=6,
        steps=_PHOTOMETRY,
        help="Order of the polynomial of an additive background term; none if empty.",
    ),
    Parameter(
        name="use_color",
        kind=Kind.BOOLEAN,
        default=True,
        steps=_PHOTOMETRY,
        help="Fit a colour term.",
    ),
    Parameter(
        name="force_color_term",
        kind=Kind.FLOAT,
        unit="mag/mag",
        minimum=-10,
        maximum=10,
        steps=_PHOTOMETRY,
        help="Colour term to use instead of fitting one.",
    ),
    Parameter(
        name="diagnose_color",
        kind=Kind.BOOLEAN,
        default=False,
        steps=_PHOTOMETRY,
        help="Scan all filters of the catalogue and report the colour term for each.",
    ),
    Parameter(
        name="nonlin",
        kind=Kind.BOOLEAN,
        default=False,
        steps=_PHOTOMETRY,
        help="Fit a non-linearity term.",
    ),
    Parameter(
        name="sr_override",
        kind=Kind.FLOAT,
        unit="arcsec",
        minimum=0.01,
        maximum=600,
        steps=_PHOTOMETRY,
        help="Match radius; half the FWHM if empty.",
    ),
    Parameter(
        name="cat_mag_lower",
        kind=Kind.FLOAT,
        unit="mag",
        minimum=-30,
        maximum=40,
        steps=_PHOTOMETRY,
        help="Brightest catalogue star that is used for calibration.",
    ),
    Parameter(
        name="cat_mag_upper",
        kind=Kind.FLOAT,
        unit="mag",
        minimum=-30,
        maximum=40,
        steps=_PHOTOMETRY,
        help="Faintest catalogue star that is used for calibration.",
    ),
    Parameter(
        name="filter_blends",
        kind=Kind.BOOLEAN,
        default=True,
        steps=_PHOTOMETRY,
        help="Leave catalogue stars with close neighbours out of the calibration.",
    ),
    Parameter(
        name="inspect_bg",
        kind=Kind.BOOLEAN,
        default=False,
        steps=_PHOTOMETRY,
        help="Keep the background and noise maps as files.",
    ),
)

_ASTROMETRY = (
    Parameter(
        name="refine_wcs",
        kind=Kind.BOOLEAN,
        default=True,
        steps=_PHOTOMETRY,
        help="Refine the astrometric solution with the catalogue.",
    ),
    Parameter(
        name="refine_method",
        kind=Kind.TEXT,
        default="scamp",
        choices=("scamp", "quadhash", "astropy"),
        steps=_PHOTOMETRY,
        help="How the astrometric solution is refined.",
    ),
    Parameter(
        name="refine_order",
        kind=Kind.INTEGER,
        default=3,
        minimum=1,
        maximum=6,
        steps=_PHOTOMETRY,
        help="Order of the distortion polynomial.",
    ),
    Parameter(
        name="blind_match_wcs",
        kind=Kind.BOOLEAN,
        default=False,
        steps=_PHOTOMETRY,
        help="Find the astrometric solution with Astrometry.Net.",
    ),
    Parameter(
        name="blind_match_ps_lo",
        kind=Kind.FLOAT,
        unit="arcsec/px",
        default=0.2,
        minimum=0.001,
        maximum=3600,
        steps=_PHOTOMETRY,
        help="Smallest pixel scale of the blind match.",
    ),
    Parameter(
        name="blind_match_ps_up",
        kind=Kind.FLOAT,
        unit="arcsec/px",
        default=4.0,
        minimum=0.001,
        maximum=3600,
        steps=_PHOTOMETRY,
        help="Largest pixel scale of the blind match.",
    ),
    Parameter(
        name="blind_match_center",
        kind=Kind.TEXT,
        steps=_PHOTOMETRY,
        help="Where to look first: coordinates or a name; the whole sky if empty.",
    ),
    Parameter(
        name="blind_match_sr0",
        kind=Kind.FLOAT,
        unit="deg",
        default=2.0,
        minimum=0.01,
        maximum=180,
        steps=_PHOTOMETRY,
        help="How far from that centre.",
    ),
)

_SIMPLE_TRANSIENTS = (
    Parameter(
        name="simple_center",
        kind=Kind.TEXT,
        steps=_SIMPLE,
        help="Look only around this position: coordinates or a name.",
    ),
    Parameter(
        name="simple_sr0",
        kind=Kind.FLOAT,
        unit="deg",
        minimum=1e-4,
        maximum=180,
        steps=_SIMPLE,
        help="How far around that position.",
    ),
    Parameter(
        name="simple_mag_diff",
        kind=Kind.FLOAT,
        unit="mag",
        default=2.0,
        minimum=0,
        maximum=30,
        steps=_SIMPLE,
        help="A known star is a candidate if it is brighter by this much, in any case by half a "
        "magnitude and five times the error.",
    ),
    Parameter(
        name="simple_prefilter",
        kind=Kind.BOOLEAN,
        default=True,
        steps=_SIMPLE,
        help="Leave out detections whose shape is not a star's.",
    ),
    Parameter(
        name="simple_blends",
        kind=Kind.BOOLEAN,
        default=True,
        steps=_SIMPLE,
        help="Leave out detections that are blends of catalogue stars.",
    ),
    Parameter(
        name="simple_vizier",
        kind=Kind.BOOLEAN,
        default=True,
        steps=_SIMPLE,
        help="Match with the surveys in VizieR; without, only with the reference catalogue. "
        "With cat_name=local only if this is set explicitly.",
    ),
    Parameter(
        name="simple_skybot",
        kind=Kind.BOOLEAN,
        default=True,
        steps=_SIMPLE,
        help="Leave out known objects of the Solar system (SkyBoT). "
        "With cat_name=local only if this is set explicitly.",
    ),
    Parameter(
        name="simple_others",
        kind=Kind.INTEGERS,
        minimum=1,
        steps=_SIMPLE,
        help="Leave out what these other tasks have measured: their numbers.",
    ),
)

_TEMPLATE = (
    Parameter(
        name="template",
        kind=Kind.TEXT,
        choices=("custom", "ps1", "ls", "skymapper", "des", "decaps", "ztf", "2mass"),
        steps=("inspect", "subtraction"),
        help="Where the template comes from; by position and filter if empty.",
    ),
    Parameter(
        name="template_fwhm_override",
        kind=Kind.FLOAT,
        unit="px",
        minimum=0.3,
        maximum=1000,
        steps=_SUBTRACTION,
        help="FWHM of the template in pixels of the image, instead of the measured one.",
    ),
    Parameter(
        name="custom_template_gain",
        kind=Kind.FLOAT,
        unit="e-/ADU",
        default=10000.0,
        minimum=1e-6,
        steps=_SUBTRACTION,
        help="Gain of the custom template; its header's, if it tells one, goes before the default.",
    ),
    Parameter(
        name="custom_template_saturation",
        kind=Kind.FLOAT,
        unit="ADU",
        minimum=0,
        steps=_SUBTRACTION,
        help="Saturation level of the custom template; from its header if empty.",
    ),
)

_DIFFERENCE = (
    Parameter(
        name="subtraction_mode",
        kind=Kind.TEXT,
        choices=("target", "detection"),
        default="detection",
        steps=_SUBTRACTION,
        help="Measure the target in the difference image, or look for everything new.",
    ),
    Parameter(
        name="subtraction_method",
        kind=Kind.TEXT,
        choices=("hotpants", "sfft", "zogy"),
        steps=_SUBTRACTION,
        help="Engine of the subtraction; HOTPANTS where it is installed, else SFFT, if empty.",
    ),
    Parameter(
        name="hotpants_extra",
        kind=Kind.OPTIONS,
        default={"ko": 0, "bgo": 0},
        steps=_SUBTRACTION,
        help="Options for HOTPANTS.",
    ),
    *(
        Parameter(
            name=f"sfft_{what}_poly_order",
            kind=Kind.INTEGER,
            default=0,
            minimum=0,
            maximum=4,
            steps=_SUBTRACTION,
            help=f"SFFT: order of the polynomial of the {meaning} over a tile.",
        )
        for what, meaning in (
            ("kernel", "kernel"),
            ("bg", "background"),
            ("flux", "flux scaling"),
        )
    ),
    Parameter(
        name="sub_size",
        kind=Kind.INTEGER,
        unit="px",
        default=1000,
        minimum=64,
        maximum=100000,
        steps=_SUBTRACTION,
        help="Size of the tiles in which the image is subtracted.",
    ),
    Parameter(
        name="sub_overlap",
        kind=Kind.INTEGER,
        unit="px",
        default=50,
        minimum=0,
        maximum=10000,
        steps=_SUBTRACTION,
        help="Overlap of the tiles.",
    ),
    Parameter(
        name="sub_split",
        kind=Kind.INTEGER,
        default=16,
        minimum=0,
        maximum=100000,
        steps=_SUBTRACTION,
        help="Number of tiles from which the subtraction is spread over the replicas, a few tiles "
        "each; 0: never.",
    ),
    Parameter(
        name="sub_verbose",
        kind=Kind.BOOLEAN,
        default=False,
        steps=_SUBTRACTION,
        help="Let the engine tell all it does in the log.",
    ),
)

_CANDIDATES = (
    Parameter(
        name="filter_center",
        kind=Kind.TEXT,
        steps=_SUBTRACTION,
        help="Keep only candidates around this position: coordinates or a name.",
    ),
    Parameter(
        name="filter_sr0",
        kind=Kind.FLOAT,
        unit="deg",
        default=1.0,
        minimum=1e-4,
        maximum=180,
        steps=_SUBTRACTION,
        help="How far around that position.",
    ),
    Parameter(
        name="filter_vizier",
        kind=Kind.BOOLEAN,
        default=False,
        steps=_SUBTRACTION,
        help="Leave out candidates that surveys in VizieR know.",
    ),
    Parameter(
        name="filter_skybot",
        kind=Kind.BOOLEAN,
        default=False,
        steps=_SUBTRACTION,
        help="Leave out known objects of the Solar system (SkyBoT).",
    ),
    Parameter(
        name="filter_prefilter",
        kind=Kind.BOOLEAN,
        default=True,
        steps=_SUBTRACTION,
        help="Leave out candidates whose shape is not a star's.",
    ),
    Parameter(
        name="filter_adjust",
        kind=Kind.BOOLEAN,
        default=True,
        steps=_SUBTRACTION,
        help="Leave out dipoles that a shift of less than a pixel explains.",
    ),
)

_PREPROCESSING = (
    *(
        Parameter(
            name=f"crop_{name}",
            kind=Kind.INTEGER,
            unit="px",
            minimum=-1_000_000,
            maximum=1_000_000,
            steps=("crop",),
            help=f"{what} of what is kept, from 0; below 0: counted from the far edge; {else_}.",
        )
        for name, what, else_ in (
            ("x1", "First column", "the first if empty"),
            ("y1", "First row", "the first if empty"),
            ("x2", "Column after the last", "the edge if empty"),
            ("y2", "Row after the last", "the edge if empty"),
        )
    ),
    Parameter(
        name="destripe_direction",
        kind=Kind.TEXT,
        choices=("horizontal", "vertical", "both"),
        default="both",
        steps=("destripe",),
        help="Stripes to remove: each row (horizontal) or column (vertical) gets the median of "
        "the image.",
    ),
    Parameter(
        name="remove_bg_method",
        kind=Kind.TEXT,
        choices=("sep", "photutils", "morphology"),
        default="sep",
        steps=("remove_background",),
        help="How the background is estimated.",
    ),
    Parameter(
        name="remove_bg_size",
        kind=Kind.INTEGER,
        unit="px",
        minimum=4,
        maximum=100000,
        default=256,
        steps=("remove_background",),
        help="Size of the background mesh.",
    ),
    Parameter(
        name="remove_bg_divide",
        kind=Kind.BOOLEAN,
        default=False,
        steps=("remove_background",),
        help="Divide by the background instead of subtracting it.",
    ),
)

_STACK = ("stack",)
_STACKING = (
    Parameter(
        name="stack_filenames",
        kind=Kind.TEXTS,
        steps=_STACK,
        help="Images to stack, at least two: relative to the data folder, or tasks/<id>/<file>. "
        "The first one gives the pixels and the header.",
    ),
    Parameter(
        name="stack_method",
        kind=Kind.TEXT,
        choices=("sum", "clipped_mean", "median"),
        default="sum",
        steps=_STACK,
        help="How images are combined.",
    ),
    Parameter(
        name="stack_reprojection",
        kind=Kind.TEXT,
        choices=("adaptive", "swarp"),
        default="adaptive",
        steps=_STACK,
        help="How images are brought to the pixels of the first: adaptive resampling "
        "(reproject), or SWarp's Lanczos kernel, which is faster and rings beside sharp edges.",
    ),
    Parameter(
        name="stack_subtract_bg",
        kind=Kind.BOOLEAN,
        default=True,
        steps=_STACK,
        help="Subtract the background of every image before stacking.",
    ),
    Parameter(
        name="stack_mask_cosmics",
        kind=Kind.BOOLEAN,
        default=False,
        steps=_STACK,
        help="Mask cosmic rays in every image before stacking.",
    ),
)


def _measured(name: str, unit: str, help_: str, kind: Kind = Kind.FLOAT) -> Parameter:
    return Parameter(name=name, kind=kind, unit=unit, help=help_, measured=True)


_MEASURED = (
    _measured(
        "inspected",
        "",
        "What the inspection found out by itself, by parameter: it does so anew the next time.",
        Kind.OBJECT,
    ),
    _measured("target_ra", "deg", "Right ascension of the first target (ICRS)."),
    _measured("target_dec", "deg", "Declination of the first target (ICRS)."),
    _measured("targets", "", "All targets: name, ra, dec.", Kind.OBJECTS),
    _measured(
        "blind_matched",
        "",
        "Whether the solution was found by a blind match, which turns blind_match_wcs off.",
        Kind.BOOLEAN,
    ),
    _measured("fwhm", "px", "FWHM of the stars."),
    _measured("pixscale", "deg", "Pixel scale."),
    _measured("mag_limit", "mag", "Limiting magnitude."),
    _measured("cat_col_mag", "", "Catalogue column of the magnitude.", Kind.TEXT),
    _measured("cat_col_mag_err", "", "Catalogue column of its error.", Kind.TEXT),
    _measured("cat_col_color_mag1", "", "First magnitude of the colour.", Kind.TEXT),
    _measured("cat_col_color_mag2", "", "Second magnitude of the colour.", Kind.TEXT),
    _measured("zp", "mag", "Zero point."),
    _measured("zp_err", "mag", "Error of the zero point."),
    _measured("color_term", "mag/mag", "Colour term."),
    _measured("n_objects", "", "Measured objects.", Kind.INTEGER),
    _measured("n_catalogue", "", "Catalogue stars in the field.", Kind.INTEGER),
    _measured("n_matched", "", "Objects that lie on a catalogue star.", Kind.INTEGER),
    _measured("n_calibrators", "", "Stars in the final photometric fit.", Kind.INTEGER),
    _measured("field_ra", "deg", "Right ascension of the field's centre (ICRS)."),
    _measured("field_dec", "deg", "Declination of the field's centre (ICRS)."),
    _measured("field_sr", "deg", "Radius of the field."),
)

#: Every parameter by its name.
PARAMETERS: dict[str, Parameter] = {
    each.name: each
    for group in (
        _GENERAL,
        _INSPECTION,
        _CATALOGUE,
        _DETECTION,
        _APERTURES,
        _CALIBRATION,
        _ASTROMETRY,
        _SIMPLE_TRANSIENTS,
        _TEMPLATE,
        _DIFFERENCE,
        _CANDIDATES,
        _PREPROCESSING,
        _STACKING,
        _MEASURED,
    )
    for each in group
}


def parameter(name: str) -> Parameter:
    """The parameter called ``name``.

    Raises
    ------
    KeyError
        If there is none.
    """
    return PARAMETERS[name]


def default_of(name: str) -> Any:
    """Value of the parameter where the configuration has none."""
    return PARAMETERS[name].default
