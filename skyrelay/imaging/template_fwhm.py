"""How sharp are the stars of the template, on the pixels of the image?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from stdpipe import photometry, plots

from skyrelay.imaging.science_image import ScienceImage

#: Fewer stars than this do not give a median.
_LEAST_STARS = 3


def measure_template_fwhm(
    template: NDArray[np.float64],
    mask: NDArray[np.bool_],
    gain: float,
    science: ScienceImage,
    plot: Path,
    log: Callable[..., object],
) -> float:
    """FWHM (pixels) of the template, whose sky is subtracted; draws FWHM against magnitude.

    Where the template shows too few stars, the FWHM of the image is taken.
    """
    objects = photometry.get_objects_sep(
        template, mask=mask, thresh=5.0, aper=science.fwhm, gain=gain, minarea=5, verbose=False
    )
    stars = objects[:0] if not len(objects) else objects[_usable(objects)]
    if len(stars) < _LEAST_STARS:
        log("Too few stars in the template: taking the FWHM of the image for its own")
        fwhm = science.fwhm
    else:
        fwhm = float(photometry.estimate_fwhm_from_objects(stars))
    if not (np.isfinite(fwhm) and fwhm > 0):
        fwhm = science.fwhm
    _draw(objects, stars, fwhm, plot)
    return fwhm


def _usable(objects: Table) -> NDArray[np.bool_]:
    usable: NDArray[np.bool_] = (np.asarray(objects["flags"]) == 0) & (
        np.asarray(objects["magerr"]) < 0.05
    )
    return usable


def _draw(objects: Table, stars: Table, fwhm: float, plot: Path) -> None:
    with plots.figure_saver(str(plot), figsize=(8, 6)) as figure:
        axes = figure.add_subplot(1, 1, 1)
        for table, style, label in (
            (objects, {"color": "0.7"}, "all detections"),
            (stars, {"color": "C0"}, "used"),
        ):
            if len(table):
                axes.plot(table["fwhm"], table["mag"], ".", label=label, **style)
        axes.axvline(fwhm, color="C1", label=f"FWHM {fwhm:.2f} px")
        axes.set_xlim(0, 4 * fwhm)
        axes.invert_yaxis()
        axes.set_xlabel("FWHM, px")
        axes.set_ylabel("instrumental magnitude")
        axes.set_title("Template")
        axes.legend()
