"""How do several images of a field become one that is deeper?"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from services.stacking import combination, registration
from services.stacking.combination import OnDisk, Planes
from services.stacking.frame import About, Frame, about, load
from services.stacking.header import stack_header
from skyrelay.errors import Permanent
from skyrelay.imaging import stack_frames
from skyrelay.imaging.arrays import Pixels
from skyrelay.imaging.fits import write_image
from skyrelay.imaging.stack_frames import Matrix, StackFrames
from skyrelay.imaging.star_patterns import by_stars, match_stars
from skyrelay.parameters.findings import forget
from skyrelay.products import FRINGE_MODEL, IMAGE, IMAGE_ORIGINAL
from skyrelay.stage.context import StageContext
from skyrelay.store import files
from skyrelay.store.inputs import find_input

#: Gain that is assumed where no header tells one, in e-/ADU.
_GAIN = 1.0


@dataclass
class _Stack:
    """The stack so far: a first frame that gives the pixels, and those that were added to it."""

    first: fits.Header
    wcs: WCS | None
    shape: tuple[int, int]
    planes: Planes
    frames: list[stack_frames.Frame] = field(default_factory=list)
    about: list[About] = field(default_factory=list)
    noises: list[float] = field(default_factory=list)
    skies: list[float] = field(default_factory=list)

    def add(self, frame: Frame, plane: OnDisk, matrix: Matrix | None, known: About) -> None:
        self.planes.add(plane)
        self.frames.append(stack_frames.Frame(frame.name, matrix))
        self.about.append(known)
        self.noises.append(frame.noise)
        self.skies.append(frame.sky)


def run(context: StageContext) -> None:
    """Stack the images of the configuration; the stack is the image of the task.

    Raises
    ------
    Permanent
        If there are not two images that can be stacked.
    """
    paths = _inputs(context)
    stack = _collect(context, paths)
    method = str(context.parameter("stack_method"))
    context.progress(0.85, "combining")
    context.log(f"Combining {len(stack.planes)} images: {method}")
    data = _combined(context, stack, method)
    if not np.isfinite(data).any():
        raise Permanent("There is no pixel that all the images have in common.")
    names = [frame.name for frame in stack.frames]
    header = stack_header(stack.first, stack.about, names, method, context.log)
    context.progress(0.95, "writing")
    # What was done to an earlier image is not to be taken back from this one.
    for name in (IMAGE_ORIGINAL, FRINGE_MODEL):
        files.remove(context.path(name))
    write_image(context.path(IMAGE), data, header)
    StackFrames(tuple(stack.frames)).write(context.folder)
    forget(context.config)
    context.measure("n_frames", len(stack.frames), doc="Images in the stack.")
    context.measure("n_frames_left_out", len(paths) - len(stack.frames), doc="Images left out.")
    context.measure("covered_fraction", float(np.isfinite(data).mean()), doc="Part with a value.")


def _inputs(context: StageContext) -> dict[str, Path]:
    """The files to stack by their names, each once."""
    names = list(dict.fromkeys(context.parameter("stack_filenames") or []))
    if len(names) < 2:
        raise Permanent(
            f"Stacking needs at least two different images in stack_filenames, not {len(names)}."
        )
    return {name: find_input(name, context.settings) for name in names}


def _collect(context: StageContext, paths: dict[str, Path]) -> _Stack:
    """Read, prepare and register the images, one after the other.

    One that cannot be used is left out, as long as two are left.
    """
    stack: _Stack | None = None
    failures: list[str] = []
    for number, (name, path) in enumerate(paths.items()):
        context.progress(0.8 * number / len(paths), f"image {number + 1} of {len(paths)}")
        context.log(f"Image {number + 1} of {len(paths)}: {name}")
        try:
            frame = load(
                name,
                path,
                subtract_sky=bool(context.parameter("stack_subtract_bg")),
                mask_cosmics=bool(context.parameter("stack_mask_cosmics")),
                log=context.log,
            )
            stack = _add(context, stack, frame)
        except Permanent as error:
            failures.append(f"{name} is left out of the stack: {error}")
            context.degrade(failures[-1])
    if stack is None or len(stack.planes) < 2:
        raise Permanent(f"There are no two images that can be stacked. {failures[0]}")
    return stack


def _add(context: StageContext, stack: _Stack | None, frame: Frame) -> _Stack:
    known = about(frame, sky_subtracted=bool(context.parameter("stack_subtract_bg")))
    if stack is None:
        rows, columns = frame.data.shape
        planes = Planes(context.temporary, (rows, columns))
        stack = _Stack(frame.header, frame.wcs, (rows, columns), planes)
        context.log("It gives the pixels of the stack")
        plane = planes.new()
        plane[:] = frame.data
        stack.add(frame, plane, np.eye(2, 3) if frame.wcs is None else None, known)
        return stack
    plane = stack.planes.new()
    matrix = _register(context, stack, frame, plane)
    if not np.isfinite(plane).any():
        raise Permanent("It does not overlap with the first image.")
    stack.add(frame, plane, matrix, known)
    return stack


def _register(context: StageContext, stack: _Stack, frame: Frame, plane: Pixels) -> Matrix | None:
    """Fill the plane with the frame on the pixels of the stack; how, if not by its coordinates."""
    if stack.wcs is None or frame.wcs is None:
        matrix = match_stars(frame.data, stack.planes.first)
        if matrix is None:
            raise Permanent(f"The stars of {frame.name} do not match those of the first image.")
        shift = np.hypot(*matrix[:, 2])
        context.log(f"Registered on its stars: no usable WCS; the corner moves by {shift:.1f} px")
        for rows, part in by_stars(frame.data, matrix, stack.shape):
            plane[rows] = part
        return matrix
    if context.parameter("stack_reprojection") == "swarp":
        executable = context.settings.stdpipe_swarp or shutil.which("SWarp")
        plane[:] = registration.by_swarp(
            frame, stack.wcs, stack.shape, executable, context.temporary
        )
        return None
    for rows, part in registration.by_coordinates(frame, stack.wcs, stack.shape):
        plane[rows] = part
    return None


def _combined(context: StageContext, stack: _Stack, method: str) -> Pixels:
    combine: Callable[[Pixels], Pixels] = combination.total
    if method != "sum":
        gains = [known.gain for known in stack.about if known.gain is not None]
        gain = float(np.mean(gains)) if gains else _GAIN
        average = (
            combination.median
            if method == "median"
            else combination.clipped_mean(stack.noises, gain)
        )
        combine = _levelled(average, stack, bool(context.parameter("stack_subtract_bg")))
    return stack.planes.combined(combine)


def _levelled(
    average: Callable[[Pixels], Pixels], stack: _Stack, sky_subtracted: bool
) -> Callable[[Pixels], Pixels]:
    """An average of frames that have the same sky; it gets their mean sky back."""
    if sky_subtracted:
        return average
    skies = np.reshape(stack.skies, (-1, 1, 1))
    return lambda strip: average(strip - skies) + np.mean(skies)
