"""What do the targets look like, beside a survey's image of the same place?"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from stdpipe import cutouts, templates

from skyrelay import products

#: Survey whose images accompany the cut-outs, by filter; others get DSS.
_SURVEYS = {
    **{band: f"CDS/P/PanSTARRS/DR1/{band}" for band in "grizy"},
    **{"B": "CDS/P/PanSTARRS/DR1/g", "V": "CDS/P/PanSTARRS/DR1/g"},
    **{"R": "CDS/P/PanSTARRS/DR1/r", "I": "CDS/P/PanSTARRS/DR1/i"},
    **{"J": "CDS/P/2MASS/J", "H": "CDS/P/2MASS/H", "Ks": "CDS/P/2MASS/K"},
}
_DSS = "CDS/P/DSS2/red"


def write_target_cutouts(
    folder: Path,
    targets: Table,
    data: Any,
    mask: Any,
    header: fits.Header,
    *,
    radius: int,
    time: str | None,
    survey_image: bool,
    filter_name: str,
    log: Callable[..., None],
) -> None:
    """Write ``targets/target_NNNN.cutout`` for every target in the image, and ``target.cutout``.

    Parameters
    ----------
    header : Header
        The refined astrometric solution.
    radius : int
        Half size in pixels.
    survey_image : bool
        Whether to fetch the survey's image; where it cannot be had the cut-out is without.
    """
    places = folder / products.TARGET_CUTOUTS
    places.mkdir(exist_ok=True)
    for index, row in enumerate(targets):
        if not (np.isfinite(row["x"]) and np.isfinite(row["y"])):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cutout = cutouts.get_cutout(
                data, row, radius, header=header, mask=mask, time=time, name=str(row["name"])
            )
            if survey_image:
                survey_image = _add_template(cutout, filter_name, float(row["dec"]), log)
            for axis in ("NAXIS1", "NAXIS2"):  # The planes have their own, in the right place.
                del cutout["header"][axis]
            path = places / f"target_{index:04d}.cutout"
            cutouts.write_cutout(cutout, str(path))
        if index == 0:
            shutil.copyfile(path, folder / products.TARGET_CUTOUT)


def _add_template(
    cutout: dict[str, Any], filter_name: str, dec: float, log: Callable[..., None]
) -> bool:
    """Add a survey's image to a cut-out; whether it could be had."""
    survey = _SURVEYS.get(filter_name, _DSS)
    if "PanSTARRS" in survey and dec < -30:
        survey = _DSS
    try:
        template = templates.get_hips_image(
            survey, header=cutout["header"], get_header=False, normalize=False, verbose=False
        )
    except Exception as error:
        log(f"Cut-outs are without the survey's image {survey}: {type(error).__name__}")
        return False
    if template is None:
        log(f"Cut-outs are without the survey's image {survey}: there is none")
        return False
    cutout["template"] = template
    return True
