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
from astropy.wcs import WCS
from stdpipe import cutouts

from skyrelay import products
from skyrelay.errors import Permanent, Retriable
from skyrelay.imaging.pieces import put_together
from skyrelay.imaging.wcs import pixel_scale
from skyrelay.sky.hips import fetch_square
from skyrelay.sky.remote import Offline, Remote

#: Survey whose images accompany the cut-outs, by filter; others get DSS.
_SURVEYS = {
    **{band: f"CDS/P/PanSTARRS/DR1/{band}" for band in "grizy"},
    **{"B": "CDS/P/PanSTARRS/DR1/g", "V": "CDS/P/PanSTARRS/DR1/g"},
    **{"R": "CDS/P/PanSTARRS/DR1/r", "I": "CDS/P/PanSTARRS/DR1/i"},
    **{"J": "CDS/P/2MASS/J", "H": "CDS/P/2MASS/H", "Ks": "CDS/P/2MASS/K"},
}
_DSS = "CDS/P/DSS2/red"
#: A survey's square is so much larger than the cut-out, which may be rotated and distorted.
_LARGER = 1.6
#: Arcsec per pixel that need not be undercut.
_FINEST = 0.25


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
    remote: Remote,
    degrade: Callable[[str], None],
) -> None:
    """Write ``targets/target_NNNN.cutout`` for every target in the image, and ``target.cutout``.

    Parameters
    ----------
    header : Header
        The refined astrometric solution; empty where there is none.
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
                survey_image = _add_template(cutout, filter_name, row, remote, degrade)
            for axis in ("NAXIS1", "NAXIS2"):  # The planes have their own, in the right place.
                cutout["header"].remove(axis, ignore_missing=True)
            path = places / f"target_{index:04d}.cutout"
            cutouts.write_cutout(cutout, str(path))
        if index == 0:
            shutil.copyfile(path, folder / products.TARGET_CUTOUT)


def _add_template(
    cutout: dict[str, Any],
    filter_name: str,
    target: Any,
    remote: Remote,
    degrade: Callable[[str], None],
) -> bool:
    """Add a survey's image to a cut-out; whether it could be had."""
    survey = _SURVEYS.get(filter_name, _DSS)
    if "PanSTARRS" in survey and target["dec"] < -30:
        survey = _DSS
    header, shape = cutout["header"], cutout["image"].shape
    wcs = WCS(header)
    scale = max(_FINEST, 3600 * pixel_scale(wcs))
    side = int(np.ceil(_LARGER * max(shape) * 3600 * pixel_scale(wcs) / scale))
    try:
        square = fetch_square(
            remote, survey, float(target["ra"]), float(target["dec"]), side, scale
        )
    except Offline as error:
        degrade(f"Cut-outs of the targets are without the survey's image: {error}")
        return False
    except (Permanent, Retriable) as error:
        remote.log(f"Cut-outs are without the survey's image {survey}: {error}")
        return False
    plane, missing = put_together([square], wcs, header, shape)
    cutout["template"] = np.where(missing, np.nan, plane)
    return True
