"""What did each frame of a stack show where the stack has a candidate?

Something that is in one frame only is a cosmic ray, a satellite or an asteroid; a person sees it at
a glance from the same place in every frame, side by side.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.ndimage import map_coordinates

from skyrelay.errors import Permanent
from skyrelay.imaging.arrays import Pixels
from skyrelay.imaging.fits import read_image
from skyrelay.imaging.science_image import ScienceImage
from skyrelay.imaging.stack_frames import Frame, StackFrames
from skyrelay.imaging.wcs import to_pixels, wcs_of
from skyrelay.products import UNSTACKED_SUFFIX
from skyrelay.stage.context import StageContext
from skyrelay.store.inputs import find_input

#: Panels in a row of the strip; more frames go into the next row.
_PANELS = 12
#: Width of a panel in inches, and dots per inch.
_INCHES, _DOTS = 1.2, 100
#: Part of the pixels that is brighter than white and darker than black, in percent.
_STRETCH = (0.5, 99.5)
#: Half size of a panel, in FWHM and at least in pixels; the cut-outs themselves may be larger.
_HALF_SIZE, _LEAST_HALF_SIZE = 5.0, 10


def write_unstacked(
    context: StageContext, science: ScienceImage, candidates: Table, folder: Path
) -> None:
    """Write a strip beside the cut-out of each candidate, where the image is a stack.

    Parameters
    ----------
    candidates : Table
        With ``x``, ``y`` and ``cutout_name``.
    folder : Path
        Where the cut-outs are.
    """
    stack = StackFrames.read(context.folder)
    if stack is None or not len(candidates):
        return
    half = max(_LEAST_HALF_SIZE, math.ceil(_HALF_SIZE * science.fwhm))
    shown: list[tuple[str, list[Pixels]]] = []
    for frame in stack.frames:
        try:
            panels = list(_panels(context, science, frame, candidates, half))
        except Permanent as error:
            context.degrade(f"The strips of candidates are without {frame.name}: {error}")
        else:
            shown.append((Path(frame.name).stem, panels))
    if not shown:
        return
    names = [name for name, _ in shown]
    for number, row in enumerate(candidates):
        name = Path(str(row["cutout_name"])).with_suffix(UNSTACKED_SUFFIX).name
        _draw(folder / name, names, [panels[number] for _, panels in shown])
    context.log(f"The frames of the stack beside each candidate: {len(shown)} of them")


def _panels(
    context: StageContext, science: ScienceImage, frame: Frame, candidates: Table, half: int
) -> Iterator[Pixels]:
    """The surroundings of each candidate in the frame, on the pixels of the stack."""
    image = read_image(find_input(frame.name, context.settings))
    wcs = None if frame.matrix is not None else wcs_of(image.header, image.data.shape)
    if frame.matrix is None and wcs is None:
        raise Permanent("it has no coordinates any more.")
    offsets = np.arange(-half, half + 1)
    for row in candidates:
        columns, rows = np.meshgrid(row["x"] + offsets, row["y"] + offsets)
        if frame.matrix is not None:
            x, y = frame.matrix @ [columns.ravel(), rows.ravel(), np.ones(columns.size)]
        else:
            ra, dec = science.positions(columns.ravel(), rows.ravel())
            x, y = to_pixels(wcs, ra, dec)
        places = np.nan_to_num([y, x], nan=-1e6)
        values = map_coordinates(image.data, places, order=1, cval=np.nan, mode="constant")
        yield values.reshape(columns.shape).astype(np.float32)


def _draw(path: Path, names: Sequence[str], panels: Sequence[Pixels]) -> None:
    across = min(_PANELS, len(panels))
    down = math.ceil(len(panels) / across)
    figure = Figure(figsize=(_INCHES * across, 1.15 * _INCHES * down), dpi=_DOTS)
    FigureCanvasAgg(figure)
    side = panels[0].shape[0]
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    mosaic = np.full((down * (side + 3), across * (side + 1)), np.nan, np.float32)
    for number, (name, panel) in enumerate(zip(names, panels, strict=True)):
        row, column = divmod(number, across)
        top = mosaic.shape[0] - (row + 1) * (side + 3)
        left = column * (side + 1)
        mosaic[top : top + side, left : left + side] = _stretched(panel)
        axes.text(left, top + side, name[-18:], fontsize=5, va="bottom")
    axes.imshow(mosaic, origin="lower", cmap="Blues_r", vmin=0, vmax=1, aspect="auto")
    figure.savefig(path)


def _stretched(panel: Pixels) -> Pixels:
    """From 0 to 1, each for itself: the frames need not have the same sky or exposure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        low, high = np.nanpercentile(panel, _STRETCH)
    return np.asarray((panel - low) / (high - low) if high > low else panel * 0 + 0.5)
