"""How are candidates handed to a person: table, regions, and small images of each?"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from numpy.typing import NDArray
from stdpipe import cutouts, utils

from skyrelay.imaging.science_image import ScienceImage

#: Radius of the regions' circles in FWHM.
_REGION_RADIUS = 2.0


def name_candidates(candidates: Table) -> Table:
    """Add to each a name made of its position, the name of its cut-out's file, and a number.

    Names of candidates that share one (closer than the name's last digit) get a suffix.
    """
    named = candidates.copy()
    plain = [_name_of(row) for row in named]
    seen: dict[str, int] = {}
    names = []
    for name in plain:
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    named["name"] = np.array(names, dtype=str)
    named["cutout_name"] = np.array([f"{name}.cutout" for name in names], dtype=str)
    named["stamp"] = np.arange(len(named))
    return named


def write_cutouts(
    folder: Path,
    candidates: Table,
    planes: Mapping[str, NDArray[np.generic]],
    science: ScienceImage,
    half_size: int,
    *,
    file_name: str,
) -> None:
    """Write ``folder/<cutout_name>`` for every candidate, with the planes in their order.

    The first of the planes must be called ``image``.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for row in candidates:
        write_cutout(
            folder / str(row["cutout_name"]), row, planes, science, half_size, file_name=file_name
        )


def write_cutout(
    path: Path,
    row: Table.Row,
    planes: Mapping[str, NDArray[np.generic]],
    science: ScienceImage,
    half_size: int,
    *,
    file_name: str,
) -> None:
    """Write the cut-out of one object (``x``, ``y``, ``ra``, ``dec``) to ``path``."""
    others = {name: plane for name, plane in planes.items() if name != "image"}
    with warnings.catch_warnings():
        # Long column names become HIERARCH cards, which is what is wanted.
        warnings.simplefilter("ignore")
        cutout = cutouts.get_cutout(
            planes["image"],
            {name: _plain(row[name]) for name in row.colnames},
            half_size,
            header=fits.Header() if science.wcs is None else science.wcs.to_header(relax=True),
            time=science.time,
            filename=file_name,
            **others,
        )
        for axis in ("NAXIS1", "NAXIS2"):  # the planes have their own, in the right place
            cutout["header"].remove(axis, ignore_missing=True)
        cutouts.write_cutout(cutout, str(path))


def write_regions(path: Path, candidates: Table, science: ScienceImage, colour: str) -> None:
    """Write DS9 regions: circles with the candidates' names, in pixels where there is no sky."""
    radius = _REGION_RADIUS * science.fwhm
    lines = ["# Region file format: DS9 version 4.1", f"global color={colour}"]
    if science.wcs is None:
        lines.append("image")  # DS9 counts its pixels from 1.
        circles = [f"{row['x'] + 1:.2f},{row['y'] + 1:.2f},{radius:.2f}" for row in candidates]
    else:
        lines.append("icrs")
        arcsec = radius * science.pixel_scale * 3600
        circles = [f'{row["ra"]:.7f},{row["dec"]:.7f},{arcsec:.2f}"' for row in candidates]
    lines += [
        f"circle({circle}) # text={{{row['name']}}}"
        for circle, row in zip(circles, candidates, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _name_of(row: Table.Row) -> str:
    if np.isfinite(row["ra"]):
        return str(utils.make_jname(row["ra"], row["dec"]))
    return f"x{row['x']:.0f}_y{row['y']:.0f}"


def _plain(value: object) -> object:
    """A value that fits into a FITS header."""
    if value is np.ma.masked:
        return float("nan")
    if isinstance(value, np.generic):
        value = value.item()
    return value.to_value("fits") if isinstance(value, Time) else value
