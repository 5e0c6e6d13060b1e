"""How right are the results on real images of which something is known?

Origin and truth of the images are written in the README beside them; `SKYRELAY_TEST_DATA` names
their folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from astropy.table import Table

from skyrelay import products
from skyrelay.messages import Outcome
from skyrelay.stage.execute import StageResult
from tests.science.test_bulge import KNOWN
from tests.science.test_decam import TRANSIENT, write_catalogue
from tests.science.test_sn2015bn import RADIUS, ZERO_POINT
from tests.support.differences import aperture_pull
from tests.support.stages import run_stage

Values = Iterator[tuple[str, float]]

#: What is searched has its event within so many pixels of the known place.
_AT = 2.0


def measure_real_fields(data: Path, scratch: Path, methods: tuple[str, ...]) -> Values:
    """Every quantity of the real images in ``data``, by name; those that are missing are not."""
    for folder, quantities in _FIELDS.items():
        if (data / folder).is_dir():
            for name, value in quantities(data / folder, scratch / folder, methods):
                yield f"{folder}: {name}", value


def _sn2015bn(data: Path, folder: Path, _: tuple[str, ...]) -> Values:
    folder.mkdir()
    shutil.copyfile(data / "SN2015bn_SDSS_r.fits.fz", folder / products.IMAGE)
    shutil.copyfile(data / "SN2015bn_SDSS_r_SDSS_r.cat", folder / "stars.cat")
    config = {
        **{"mask_cosmics": False, "cat_name": "local", "cat_file": "stars.cat"},
        **{"cat_limit": 22.0, "spatial_order": 0, "fwhm_override": RADIUS, "rel_aper": 1.0},
        **{"rel_bg1": 4.0, "rel_bg2": 6.0},
    }
    values = _run(folder, config, "inspect", "photometry").values
    zero_point, residual = values["zero_point"].value, values["astrometric_residual"].value
    yield "zero point minus the published one, mmag", 1000 * (float(zero_point) - ZERO_POINT)  # type: ignore[arg-type]
    yield "astrometric residual of the calibrators, mas", 1000 * float(residual)  # type: ignore[arg-type]


def _bulge(data: Path, scratch: Path, methods: tuple[str, ...]) -> Values:
    scratch.mkdir()
    for method in _subtracting(methods):
        folder = scratch / method
        folder.mkdir()
        shutil.copyfile(data / "AKB13475I0100.fits", folder / products.IMAGE)
        shutil.copyfile(data / "AKB13475I0075.fits", folder / products.CUSTOM_TEMPLATE)
        config = {"template": "custom", "filter": "I", "blind_match_wcs": False}
        config["subtraction_method"] = method
        result = _run(folder, config, "inspect", "photometry", "subtraction")
        yield from _of_event(method, folder, KNOWN["0100"], result)


def _decam(data: Path, scratch: Path, methods: tuple[str, ...]) -> Values:
    scratch.mkdir()
    for method in _subtracting(methods):
        folder = scratch / method
        folder.mkdir()
        shutil.copyfile(data / "Stack-DEC-OBS04.fits", folder / products.IMAGE)
        shutil.copyfile(data / "Stack-DEC-OBS18.fits", folder / products.CUSTOM_TEMPLATE)
        write_catalogue(folder)
        config = {
            **{"cat_name": "local", "cat_file": "stars.vot", "filter": "i", "template": "custom"},
            **{"use_color": False, "spatial_order": 0, "refine_wcs": False},
            "subtraction_method": method,
        }
        result = _run(folder, config, "inspect", "photometry", "subtraction")
        yield from _of_event(method, folder, TRANSIENT, result)


def _subtracting(methods: tuple[str, ...]) -> list[str]:
    return [method for method in methods if method != "catalogue"]


def _of_event(method: str, folder: Path, place: tuple[float, float], result: StageResult) -> Values:
    """How the known event stands among the candidates."""
    candidates = Table.read(folder / products.CANDIDATES)
    order = np.argsort(-np.asarray(candidates["sn"]))
    away = np.hypot(candidates["x"] - place[0], candidates["y"] - place[1])[order]
    ranks = np.flatnonzero(away < _AT)
    yield f"{method}: rank of the event", float(ranks[0] + 1) if len(ranks) else float("nan")
    yield f"{method}: other candidates", float(len(candidates) - len(ranks))
    fwhm = float(result.config["fwhm"])
    yield f"{method}: scatter of apertures in units of the noise", aperture_pull(folder, fwhm)


def _run(folder: Path, config: dict[str, Any], *steps: str) -> StageResult:
    for step in steps:
        result = run_stage(step, folder, config)
        config = result.config
        if result.outcome is Outcome.FAILED:
            raise click.ClickException(f"{step} of {folder} failed: {' '.join(result.reasons)}")
    return result


_FIELDS: dict[str, Callable[[Path, Path, tuple[str, ...]], Values]] = {
    "sn2015bn_sdss": _sn2015bn,
    "bulge_microlensing": _bulge,
    "decam_pair": _decam,
}
