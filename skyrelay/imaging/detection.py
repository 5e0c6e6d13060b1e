"""Which objects are in the image, which of them look like stars, and how wide are those?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from stdpipe import artefacts, photometry

from skyrelay.errors import Permanent
from skyrelay.imaging.arrays import Log
from skyrelay.imaging.flags import ANY, BAD_SHAPE, EXTRACTION, MASKED

_CHECK_IMAGES = ("SEGMENTATION", "FILTERED", "BACKGROUND", "BACKGROUND_RMS")
_EXTRA = ("NUMBER", "MAG_AUTO", "FLUX_AUTO", "FLUX_MAX", "ISOAREA_IMAGE")
_WINDOWED = ("XWIN_IMAGE", "YWIN_IMAGE", "ERRX2WIN_IMAGE", "ERRY2WIN_IMAGE", "FLAGS_WIN")
#: Pixels by which the window may move from the isophote's centre: farther is another object's.
_LARGEST_MOVE = 1.0


@dataclass(frozen=True)
class Detections:
    """Objects of an image, the brightest first, and SExtractor's check images."""

    objects: Table
    segmentation: Any
    filtered: Any
    background: Any
    background_rms: Any


def detect(
    data: Any,
    mask: Any,
    hidden: Any,
    *,
    aperture: float,
    smoothing: float,
    sn: float,
    minarea: int,
    gain: float,
    bg_size: int,
    temporary: Path,
    executable: str | None,
    log: Log,
) -> Detections:
    """Find objects with SExtractor.

    Parameters
    ----------
    data : ndarray
        Pixels in ADU.
    mask : ndarray of bool
        Objects that touch these pixels are flagged `MASKED`.
    hidden : ndarray of bool
        Nothing is looked for in these pixels.
    aperture : float
        Radius of the aperture in which the signal-to-noise ratio is taken, in pixels.
    smoothing : float
        Width (sigma) of the smoothing kernel in pixels; 0 for none.

    Raises
    ------
    Permanent
        If nothing is found, or SExtractor does not run.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = photometry.get_objects_sextractor(
            data,
            mask=mask,
            mask_detect=hidden,
            aper=aperture,
            r0=smoothing,
            sn=sn,
            minarea=minarea,
            gain=gain,
            edge=2,
            bg_size=bg_size,
            checkimages=list(_CHECK_IMAGES),
            extra_params=[*_EXTRA, *_WINDOWED],
            _tmpdir=str(temporary),
            _exe=executable,
            verbose=log,
        )
    if found is None or found[0] is None:
        raise Permanent("SExtractor could not be run on the image; its messages are in the log.")
    if not len(found[0]):
        raise Permanent(
            f"No object with a signal-to-noise ratio above {sn:g} was found in the image: "
            "lower sn, or check the image and its mask."
        )
    found[0]["flags"] = np.asarray(found[0]["flags"], np.int32)  # int16 is short for all bits.
    _centre(found[0])
    log(f"{len(found[0])} objects found")
    return Detections(*found)


def _centre(objects: Table) -> None:
    """Replace isophotal positions by windowed ones, where the window has found a centre.

    The centroid of all pixels above a threshold follows noise and neighbours: for bright stars it
    scatters several times as much as that under a Gaussian window, which is almost as good as a
    fit of the profile.
    """
    x, y, x_var, y_var, flags = (np.asarray(objects[name], float) for name in _WINDOWED)
    x, y = x - 1, y - 1
    moved = np.hypot(x - objects["x"], y - objects["y"])
    good = (flags == 0) & (x_var > 0) & (y_var > 0) & (moved < _LARGEST_MOVE)
    for name, values in (("x", x), ("y", y), ("xerr", np.sqrt(x_var)), ("yerr", np.sqrt(y_var))):
        objects[name] = np.where(good, values, objects[name])
    objects.remove_columns(_WINDOWED)


def flag_bad_shapes(objects: Table, log: Log) -> None:
    """Raise `BAD_SHAPE` for detections that stand apart in size and peakedness.

    An isolation forest learns what is ordinary in this very image; it needs some twenty clean
    detections for that.
    """
    clean = (np.asarray(objects["flags"]) & EXTRACTION) == 0
    if clean.sum() < 20:
        log(f"Shapes are not checked: {clean.sum()} clean objects are too few")
        return
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            good = artefacts.filter_sextractor_detections(objects, verbose=log)
        except ValueError as error:
            log(f"Shapes are not checked: {error}")
            return
    objects["flags"][~good] |= BAD_SHAPE
    log(f"{np.count_nonzero(~good)} objects do not have the shape of a star")


def measured_fwhm(objects: Table, log: Log) -> float:
    """FWHM of the stars in pixels.

    Raises
    ------
    Permanent
        If there is no object to measure it on.
    """
    flags = np.asarray(objects["flags"])
    widths = np.asarray(objects["fwhm"], float)
    usable = np.isfinite(widths) & (widths > 0.3)
    for accepted, snr in ((0, 20), (0, 5), (MASKED | BAD_SHAPE, 0), (ANY, 0)):
        good = usable & ((flags & ~accepted) == 0)
        if snr:
            good &= np.asarray(objects["magerr"]) < 1 / snr
        if good.sum() >= (5 if snr else 1):
            break
    else:
        raise Permanent("The FWHM cannot be measured: no object is good enough; set fwhm_override.")
    # Of half-light radii stdpipe makes a FWHM as if stars were Gaussians; they have wings.
    sample = objects[good]
    sample.keep_columns(["x", "y", "a", "b", "fwhm"])
    estimate = photometry.estimate_fwhm_from_objects(
        sample,
        snr_min=None,
        use_flags=False,
        fwhm_range=(0.3, 0.25 * float(np.max(objects["x"]) + 16)),
        verbose=log,
    )
    value = float(estimate) if np.isfinite(estimate) else float(np.median(widths[good]))
    log(f"FWHM is {value:.2f} px, from {good.sum()} objects")
    return value
