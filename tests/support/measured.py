"""How does a test get a task in which something was measured, without any science?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from skyrelay import products
from skyrelay.imaging.votable import write_votable
from skyrelay.imaging.wcs import sky_field
from skyrelay.records import SkyField
from skyrelay.stages import INSPECT, PHOTOMETRY, SUBTRACTION
from tests.support.gateway import Bench, Caller

_PIXELS = 200
#: Columns of targets and candidates that the stages write.
_COLUMNS = ("x", "y", "flux", "fluxerr", "mag_calib", "mag_calib_err", "mag_limit")


@dataclass
class Field:
    """What an image of a place on the sky shows: ``objects`` are ra, dec, mag."""

    ra: float = 10.0
    dec: float = 20.0
    time: str = "2026-01-02T12:00:00.000"
    filter: str = "r"
    mag_limit: float = 20.5
    objects: Sequence[tuple[float, float, float]] = ()
    targets: Sequence[tuple[float, float, float | None]] = ()
    candidates: Sequence[tuple[float, float, float]] = ()
    size: float = 0.5
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def sky(self) -> SkyField:
        """Where it lies: a square of ``size`` degrees."""
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [self.ra, self.dec]
        wcs.wcs.crpix = [(_PIXELS + 1) / 2] * 2
        wcs.wcs.cdelt = [-self.size / _PIXELS, self.size / _PIXELS]
        return sky_field(wcs, (_PIXELS, _PIXELS))


def measured_task(bench: Bench, caller: Caller, seen: Field, name: str = "image.fits") -> int:
    """A task whose image shows this, inspected and measured; nothing is indexed yet."""
    task = caller.new_task(name)
    bench.run(caller, task, INSPECT.step, make=_inspection(seen), field=seen.sky)
    bench.run(caller, task, PHOTOMETRY.step, make=photometry(seen), field=seen.sky)
    if seen.candidates:
        bench.run(caller, task, SUBTRACTION.step, make=_subtraction(seen), field=seen.sky)
    return task


def _inspection(seen: Field) -> Callable[[Path], None]:
    return lambda folder: _values(folder, INSPECT.results_name, time=seen.time, filter=seen.filter)


def photometry(seen: Field) -> Callable[[Path], None]:
    """Writes what the photometry leaves."""

    def make(folder: Path) -> None:
        _values(
            folder,
            PHOTOMETRY.results_name,
            filter=seen.filter,
            mag_limit=seen.mag_limit,
            zero_point=27.5,
            fwhm_arcsec=2.5,
            n_objects=len(seen.objects),
            **seen.extra,
        )
        ra, dec, mag = np.array(list(seen.objects) or np.zeros((0, 3)), dtype=float).T
        Table(
            {
                "ra": ra,
                "dec": dec,
                "mag_calib": mag,
                "mag_calib_err": np.full(len(ra), 0.02),
                "flags": np.zeros(len(ra), dtype=int),
            }
        ).write(folder / products.OBJECTS, format="parquet", overwrite=True)
        if seen.targets:
            _table(folder / products.TARGET, seen.targets, seen, name="the target")

    return make


def _subtraction(seen: Field) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        _values(folder, SUBTRACTION.results_name, n_candidates=len(seen.candidates))
        names = [f"J{number:04d}" for number in range(len(seen.candidates))]
        cutouts = folder / products.CANDIDATES_CUTOUTS
        cutouts.mkdir(exist_ok=True)
        for name in names:
            planes = [
                fits.ImageHDU(np.full((9, 9), value, np.float32), name=plane)
                for value, plane in enumerate(("IMAGE", "TEMPLATE", "DIFF"), 1)
            ]
            fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(
                cutouts / f"{name}.cutout", overwrite=True
            )
        _table(
            folder / products.CANDIDATES,
            seen.candidates,
            seen,
            name=names,
            cutout_name=[f"{name}.cutout" for name in names],
            rb_score=np.linspace(0.9, 0.1, len(names)),
        )

    return make


def _values(folder: Path, name: str, **values: Any) -> None:
    content = {
        "values": {
            key: {"value": value, "error": 0.01 if key == "zero_point" else None, "unit": ""}
            for key, value in values.items()
        },
        "degraded": [],
    }
    path = folder / name
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(content))


def _table(
    path: Path, places: Sequence[tuple[float, float, float | None]], seen: Field, **more: Any
) -> None:
    ra, dec = ([place[axis] for place in places] for axis in (0, 1))
    mag = [np.nan if place[2] is None else place[2] for place in places]
    flux = 10 ** (-0.4 * (np.nan_to_num(mag, nan=25.0) - 27.5))
    values = dict.fromkeys(_COLUMNS, np.full(len(places), 100.0))
    values |= {
        "mag_calib": np.array(mag),
        "mag_calib_err": np.full(len(places), 0.05),
        "mag_limit": np.full(len(places), seen.mag_limit),
        "flux": flux,
        "fluxerr": flux / 10,
    }
    table = Table({"ra": ra, "dec": dec, **values, "flags": np.zeros(len(places), int)})
    for name, value in more.items():
        table[name] = value
    table["mag_filter_name"] = seen.filter
    path.unlink(missing_ok=True)
    write_votable(table, path)
