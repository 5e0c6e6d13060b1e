"""What does the header of a stack say, so that the stages after it need not know that it is one?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.io import fits
from astropy.time import Time

from services.stacking.frame import About
from skyrelay.imaging.arrays import Log
from skyrelay.imaging.header import with_exposure, with_gain, with_saturation
from skyrelay.imaging.times import with_times

#: Names that a header can hold; a stack of thousands needs no longer list.
_MOST_NAMES = 200
#: Variance of a median beside that of a mean, of many values.
_MEDIAN = np.pi / 2


def stack_header(
    first: fits.Header,
    frames: Sequence[About],
    names: Sequence[str],
    method: str,
    log: Log,
) -> fits.Header:
    """Header of the stack: that of its first frame, with what is another one's for the stack."""
    count = len(frames)
    header = first.copy()
    gains = [frame.gain for frame in frames if frame.gain is not None]
    if gains:
        gain = float(np.mean(gains)) * _averaged(method, count)
        header = with_gain(header, gain)
        log(f"Gain of the stack is {gain:g} e-/ADU")
    levels = [frame.saturation for frame in frames if frame.saturation is not None]
    if levels:
        level = min(levels) * (count if method == "sum" else 1)
        header = with_saturation(header, level)
        log(f"Saturation level of the stack is {level:g} ADU")
    if "DATAMAX" in header and method == "sum":
        _multiply(header, "DATAMAX", count)
    exposures = [frame.exposure for frame in frames if frame.exposure is not None]
    if exposures and len(exposures) == count:
        seconds = float(np.sum(exposures) if method == "sum" else np.mean(exposures))
        header = with_exposure(header, seconds)
        log(f"Exposure time of the stack is {seconds:g} s")
        if method != "sum" and max(exposures) > 1.1 * min(exposures):
            log("Warning: The exposure times differ, and the frames are averaged as they are")
    header = _with_times(header, frames, log)
    header["NCOMBINE"] = (count, "frames in this stack")
    header["STACKMET"] = (method, "how they are combined")
    for name in names[:_MOST_NAMES]:
        header.add_history(f"stacked: {name}".encode("ascii", "replace").decode())
    return header


def _averaged(method: str, count: int) -> float:
    """How many times the electrons of a frame stand behind one ADU of the stack."""
    if method == "sum":
        return 1.0
    return count / _MEDIAN if method == "median" and count > 2 else float(count)


def _multiply(header: fits.Header, keyword: str, factor: float) -> None:
    try:
        header[keyword] = float(header[keyword]) * factor
    except (TypeError, ValueError):
        header.remove(keyword)


def _with_times(header: fits.Header, frames: Sequence[About], log: Log) -> fits.Header:
    timed = [
        (frame.start, frame.middle.mjd, frame.exposure)
        for frame in frames
        if frame.start is not None and frame.middle is not None
    ]
    if not timed:
        return header
    if len(timed) < len(frames):
        log(f"Warning: The time of {len(frames) - len(timed)} frames is not known")
    starts, middles, exposures = zip(*timed, strict=True)
    start = min(starts)
    weights = None if None in exposures else exposures
    middle = Time(np.average(middles, weights=weights), format="mjd", scale="utc")
    log(f"The middle of the exposures is {middle.isot}")
    return with_times(header, start, middle)
