"""What are the files in a task's folder called, and which stage makes them?

The names are those that STDWeb's clients and users know.
"""

from __future__ import annotations

from skyrelay.stages import stage_of

# What the user brings
IMAGE = "image.fits"
CUSTOM_MASK = "custom_mask.fits"
CUSTOM_TEMPLATE = "custom_template.fits"
CUSTOM_TEMPLATE_MASK = "custom_template_mask.fits"
#: The rectangles that a mask was drawn with.
CUSTOM_MASK_AREAS = "custom_mask.json"
CUSTOM_TEMPLATE_MASK_AREAS = "custom_template_mask.json"

# stack
STACK_FRAMES = "stack_frames.json"

# preprocessing
IMAGE_ORIGINAL = "image.orig.fits"
#: What no stage can make again.
BROUGHT = (
    IMAGE,
    IMAGE_ORIGINAL,
    CUSTOM_MASK,
    CUSTOM_MASK_AREAS,
    CUSTOM_TEMPLATE,
    CUSTOM_TEMPLATE_MASK,
    CUSTOM_TEMPLATE_MASK_AREAS,
)
FRINGE_MODEL = "fringe_model.fits"

# inspect
MASK = "mask.fits"
IMAGE_TARGET = "image_target.fits"

# photometry
SEGMENTATION = "segmentation.fits"
FILTERED = "filtered.fits"
IMAGE_BG = "image_bg.fits"
IMAGE_RMS = "image_rms.fits"
OBJECTS = "objects.parquet"
CATALOGUE = "cat.parquet"
IMAGE_WCS = "image.wcs"
PHOTOMETRY_PICKLE = "photometry.pickle"
TARGET = "target.vot"
TARGET_CUTOUT = "target.cutout"
TARGET_CUTOUTS = "targets"
PHOTOMETRY_PLOTS = (
    "fwhm.png",
    "fwhm_mag.png",
    "prefilter.png",
    "objects.png",
    "photometry.png",
    "photometry_unmasked.png",
    "photometry_zeropoint.png",
    "photometry_model.png",
    "photometry_residuals.png",
    "astrometry_dist.png",
    "limit_hist.png",
    "limit_sn.png",
)

# simple transients
CANDIDATES_SIMPLE = "candidates_simple.vot"
CANDIDATES_SIMPLE_REGIONS = "candidates_simple.reg"
CANDIDATES_SIMPLE_CUTOUTS = "candidates_simple"

# subtraction
SUB_IMAGE = "sub_image.fits"
SUB_MASK = "sub_mask.fits"
SUB_TEMPLATE = "sub_template.fits"
SUB_TEMPLATE_MASK = "sub_template_mask.fits"
SUB_CONVOLVED = "sub_conv.fits"
SUB_DIFFERENCE = "sub_diff.fits"
SUB_SCALED_DIFFERENCE = "sub_sdiff.fits"
SUB_NOISE = "sub_ediff.fits"
SUB_TEMPLATE_FWHM_PLOT = "sub_template_fwhm_mag.png"
SUB_TARGET = "sub_target.vot"
SUB_TARGET_CUTOUT = "sub_target.cutout"
CANDIDATES = "candidates.vot"
CANDIDATES_REGIONS = "candidates.reg"
CANDIDATES_CUTOUTS = "candidates"

#: What comes with each of the cut-outs of candidates in a stack: the same place in every frame.
UNSTACKED_SUFFIX = ".unstack.png"

_MADE_BY: dict[str, tuple[str, ...]] = {
    "stack": (STACK_FRAMES,),
    "remove_fringes": (FRINGE_MODEL,),
    "inspect": (MASK, IMAGE_TARGET),
    "photometry": (
        SEGMENTATION,
        FILTERED,
        IMAGE_BG,
        IMAGE_RMS,
        OBJECTS,
        CATALOGUE,
        IMAGE_WCS,
        PHOTOMETRY_PICKLE,
        TARGET,
        TARGET_CUTOUT,
        TARGET_CUTOUTS,
        *PHOTOMETRY_PLOTS,
    ),
    "simple_transients": (
        CANDIDATES_SIMPLE,
        CANDIDATES_SIMPLE_REGIONS,
        CANDIDATES_SIMPLE_CUTOUTS,
    ),
    "subtraction": (
        SUB_IMAGE,
        SUB_MASK,
        SUB_TEMPLATE,
        SUB_TEMPLATE_MASK,
        SUB_CONVOLVED,
        SUB_DIFFERENCE,
        SUB_SCALED_DIFFERENCE,
        SUB_NOISE,
        SUB_TEMPLATE_FWHM_PLOT,
        SUB_TARGET,
        SUB_TARGET_CUTOUT,
        CANDIDATES,
        CANDIDATES_REGIONS,
        CANDIDATES_CUTOUTS,
    ),
}


#: What a step begins with, if it was done before, and replaces at its end.
_BEGUN_WITH = {"photometry": {IMAGE_WCS}}


def products_of(step: str) -> tuple[str, ...]:
    """Names of the files and folders that the step makes, its log and results included."""
    stage = stage_of(step)
    return (*_MADE_BY.get(step, stage.makes), stage.log_name, stage.results_name)


def outdated_by(step: str) -> tuple[str, ...]:
    """Names of the files and folders that are out of date as soon as the step starts anew."""
    steps = (step, *stage_of(step).invalidates)
    kept = _BEGUN_WITH.get(step, set())
    return tuple(name for each in steps for name in products_of(each) if name not in kept)
