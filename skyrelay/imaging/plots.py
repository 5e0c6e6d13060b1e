"""Which pictures let an astronomer judge the photometry at a glance?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

from skyrelay.imaging.arrays import Log

matplotlib.use("Agg")

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure
from stdpipe import plots

from skyrelay.imaging.calibration import Calibration
from skyrelay.imaging.flags import BAD_SHAPE

_DPI = 100
#: Fixed, because to find the tightest ones takes as long as to draw.
_MARGINS = {
    "left": 0.1, "right": 0.91, "bottom": 0.09, "top": 0.94, "hspace": 0.3, "wspace": 0.2
}  # fmt: skip
#: Cells of a map per axis, for many and for few stars.
_BINS_MANY, _BINS_FEW = 16, 8


class PhotometryPlots:
    """Writes the pictures of one image into a folder; a picture that fails is only logged."""

    def __init__(self, folder: Path, log: Log) -> None:
        self._folder = folder
        self._log = log

    def widths(self, objects: Table, fwhm: float) -> None:
        """``fwhm.png``, ``fwhm_mag.png``: FWHM over the image and against brightness."""
        good = (np.asarray(objects["flags"]) == 0) & (np.asarray(objects["magerr"]) < 0.05)
        sample = objects[good] if good.sum() > 5 else objects
        with self._figure("fwhm.png", (8, 6)) as figure:
            axes = figure.add_subplot(111)
            _map(axes, sample["x"], sample["y"], sample["fwhm"], show_dots=True)
            axes.set(title=f"FWHM, median {fwhm:.2f} px", xlabel="x, px", ylabel="y, px")
            axes.set_aspect("equal")
        with self._figure("fwhm_mag.png", (8, 6)) as figure:
            axes = figure.add_subplot(111)
            clean = np.asarray(objects["flags"]) == 0
            axes.plot(
                objects["fwhm"][~clean], objects["mag"][~clean], ".", c="0.7", label="flagged"
            )
            axes.plot(objects["fwhm"][clean], objects["mag"][clean], ".", label="clean")
            axes.axvline(fwhm, c="C3", ls="--", label=f"{fwhm:.2f} px")
            axes.set(xlabel="FWHM, px", ylabel="Instrumental magnitude", xlim=(0, 4 * fwhm))
            axes.invert_yaxis()
            axes.grid(alpha=0.2)
            axes.legend()

    def shapes(self, objects: Table) -> None:
        """``prefilter.png``: what the check of shapes kept and what it flagged."""
        objects = objects[np.asarray(objects["MAG_AUTO"]) < 90]  # 99 is SExtractor's "none".
        bad = (np.asarray(objects["flags"]) & BAD_SHAPE) > 0
        with np.errstate(all="ignore"):
            peakedness = np.asarray(objects["FLUX_MAX"] / objects["FLUX_AUTO"], float)
        with self._figure("prefilter.png", (12, 5)) as figure:
            for place, name, values in (
                (121, "FLUX_RADIUS, px", np.asarray(objects["FLUX_RADIUS"], float)),
                (122, "FLUX_MAX / FLUX_AUTO", peakedness),
            ):
                axes = figure.add_subplot(place)
                axes.plot(objects["MAG_AUTO"][~bad], values[~bad], ".", label=f"{sum(~bad)} kept")
                axes.plot(
                    objects["MAG_AUTO"][bad], values[bad], "x", c="C3", label=f"{sum(bad)} flagged"
                )
                low, high = np.nanpercentile(values, [0.5, 99.5])
                axes.set(xlabel="MAG_AUTO", ylabel=name, ylim=(min(0, low), 1.2 * high))
                axes.grid(alpha=0.2)
                axes.legend()

    def objects(self, data: Any, mask: Any, objects: Table) -> None:
        """``objects.png``: the measured objects on the image."""
        with self._figure("objects.png", (9, 8)) as figure:
            axes = figure.add_subplot(111)
            plots.imshow(
                data, mask=mask, qq=[0.5, 98], cmap="Blues_r", origin="lower", ax=axes,
                max_plot_size=1024,
            )  # fmt: skip
            clean = np.asarray(objects["flags"]) == 0
            axes.set_autoscale_on(False)
            axes.plot(objects["x"][clean], objects["y"][clean], ".", c="red", ms=2, label="clean")
            axes.plot(
                objects["x"][~clean], objects["y"][~clean], ".", c="orange", ms=2, label="flagged"
            )
            axes.set_title(f"{len(objects)} objects, {clean.sum()} clean")
            axes.legend(loc="upper right")

    def calibration(self, calibration: Calibration, shape: tuple[int, int]) -> None:
        """The five pictures of the photometric solution and the map of the residual offsets."""
        match = calibration.match
        for name, masked in (("photometry.png", False), ("photometry_unmasked.png", True)):
            with self._figure(name, (8, 12)) as figure:
                for place, mode in ((311, "mag"), (312, "normed"), (313, "color")):
                    axes = figure.add_subplot(place)
                    _photometric_match(match, axes, mode, show_masked=masked)
                    _frame(axes, match, mode, masked)
        for name, mode in (
            ("photometry_zeropoint.png", "zero"),
            ("photometry_model.png", "model"),
            ("photometry_residuals.png", "residuals"),
            ("astrometry_dist.png", "dist"),
        ):
            with self._figure(name, (8, 6)) as figure:
                axes = figure.add_subplot(111)
                _photometric_match(
                    match, axes, mode, show_dots=True, bins=_bins(match["idx"].sum()),
                    range=[[0, shape[1]], [0, shape[0]]], aspect="equal",
                )  # fmt: skip
                axes.set(xlabel="x, px", ylabel="y, px")

    def limits(self, objects: Table, stars: Table, column: str, sn: float) -> None:
        """``limit_hist.png``, ``limit_sn.png``: how deep the image is."""
        with self._figure("limit_hist.png", (8, 5)) as figure:
            axes = figure.add_subplot(111)
            plots.plot_mag_histogram(objects, cat=stars, cat_col_mag=column, sn=sn, ax=axes)
        with self._figure("limit_sn.png", (8, 5)) as figure:
            axes = figure.add_subplot(111)
            plots.plot_detection_limit(objects, sn=sn, mag_name=column, ax=axes)

    @contextmanager
    def _figure(self, name: str, size: tuple[float, float]) -> Iterator[Figure]:
        figure = Figure(figsize=size, dpi=_DPI)
        figure.subplots_adjust(**_MARGINS)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                yield figure
                figure.savefig(self._folder / name)
            except Exception as error:
                # A picture is an aid; the measurement stands without it.
                self._log(f"Warning: The picture {name} could not be drawn: {error}")


def _photometric_match(match: dict[str, Any], axes: Any, mode: str, **options: Any) -> None:
    # stdpipe names both colours in the model's text, whether they were used or not.
    if match["color_term"] is None:
        match = {key: value for key, value in match.items() if key not in _COLOR_KEYS}
    plots.plot_photometric_match(match, ax=axes, mode=mode, **options)


_COLOR_KEYS = ("cat_col_mag1", "cat_col_mag2")


def _frame(axes: Any, match: dict[str, Any], mode: str, everything: bool) -> None:
    """Keep a few wild points from squeezing all others into a line."""
    if mode == "normed":
        axes.set_ylim(-10, 10)
    else:
        chosen = match["idx0"] if not everything else np.isfinite(match["zero"])
        residual = (match["zero_model"] - match["zero"])[chosen]
        reach = 1.5 * np.nanpercentile(np.abs(residual), 97) if residual.size else 1.0
        axes.set_ylim(-max(reach, 0.05), max(reach, 0.05))


def _map(axes: Any, x: Any, y: Any, values: Any, **options: Any) -> None:
    plots.binned_map(x, y, values, bins=_bins(len(x)), statistic="median", ax=axes, **options)


def _bins(count: int) -> int:
    return _BINS_MANY if count > 1000 else _BINS_FEW
