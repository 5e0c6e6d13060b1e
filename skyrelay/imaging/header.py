"""What do the header and the pixels say about gain, saturation and filter?

Each telescope writes these with keywords of its own; the tables here are tried in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy.io import fits

from skyrelay.imaging.arrays import Log
from skyrelay.sky.filters import DEFAULT_FILTER, known_filter, means_unfiltered

#: EGAIN goes first: where a camera writes both, GAIN is its amplifier's setting.
_GAIN = ("EGAIN", "GAIN", "CCD_GAIN", "CCDGAIN", "GAINEFF", "GAIN1", "ESO DET OUT1 CONAD")
#: Noise of a pixel that no image in counts is below, in e-.
_LEAST_NOISE = 0.3
_SATURATION = ("SATURATE", "SATURATI", "SATLEVEL", "SATURLEV", "SATUR_LE")
_FILTER = (
    *("FILTER", "FILTERS", "CAMFILT", "FILTNAM", "FILTNAME", "FILTERID", "CCDFLTID", "FILT_ID"),
    *("FILTER1", "FILTER2", "FILTER3", "FILT1", "FILT2", "FILTER01", "FILTER02", "FILTNAM1"),
    *("FILTNAM2", "FAFLTNM", "FBFLTNM", "INSFLNAM", "INSFILTE", "ACAMFILT", "ALFLTNM", "CCDFILT"),
    *("FILTERNM", "FILTER_N", "FILTRE", "FLTRNM", "BAND", "WFFBAND", "FPA.FILTER"),
    *("ESO INS FILT1 NAME", "ESO INS FILT2 NAME", "ESO INS FILT3 NAME", "SURVEY"),
)
_EXPOSURE = ("EXPTIME", "EXPOSURE", "EXP_TIME", "EXPOSED", "ITIME", "ESO DET WIN1 DIT1", "INTTIME")
#: Photon noise so much above the noise that is there is not explained by resampling.
_DOUBT = 3.0
#: The same pixel value in so many of the brightest pixels is where the detector clips.
_PLATEAU = 20


def gain_of(header: fits.Header, data: Any, log: Log) -> float:
    """Gain in e-/ADU: from the header, else guessed; 1 where nothing is known."""
    value = header_gain(header, log)
    if value is not None:
        _doubt_gain(value, data, log)
        return value
    brightest = float(data[np.isfinite(data)].max())
    if 0 < brightest <= 2:
        # Pixels scaled to unity by an image editor: the camera had 16 bits, most likely.
        gain = 65535.0 / brightest
        log(f"The image is rescaled (maximum {brightest:g}); gain is guessed as {gain:g} e-/ADU")
        return gain
    noise = _pixel_noise(data)
    if 0 < noise < _LEAST_NOISE:
        # No detector is that quiet: these are fluxes in some physical unit.
        gain = 10 / noise
        log(f"The noise is {noise:g} ADU, so pixels are not counts; gain is guessed as {gain:g}")
        return gain
    log("There is no gain in the header; using 1 e-/ADU")
    return 1.0


def header_gain(header: fits.Header, log: Log) -> float | None:
    """Gain in e-/ADU that the header tells; None if it tells none that makes sense."""
    for keyword, value in numbers(header, _GAIN):
        if 0 < value < 1000:
            log(f"Gain is {value:g} e-/ADU, from {keyword}")
            return value
        log(f"{keyword} = {value:g} is no sensible gain")
    return None


def with_gain(header: fits.Header, gain: float) -> fits.Header:
    """Copy of the header with this gain in e-/ADU, under one keyword."""
    return _with_one(header, _GAIN, "GAIN", gain, "[e-/ADU]")


def exposure_of(header: fits.Header) -> float | None:
    """Exposure time in seconds, if the header tells it."""
    return next((value for _, value in numbers(header, _EXPOSURE) if value > 0), None)


def with_exposure(header: fits.Header, seconds: float) -> fits.Header:
    """Copy of the header with this exposure time in seconds, under one keyword."""
    return _with_one(header, _EXPOSURE, "EXPTIME", seconds, "[s]")


def header_saturation(header: fits.Header) -> float | None:
    """Saturation level in ADU that the header tells, whether it makes sense or not."""
    return next((value for _, value in numbers(header, _SATURATION)), None)


def with_saturation(header: fits.Header, level: float) -> fits.Header:
    """Copy of the header with this saturation level in ADU, under one keyword."""
    return _with_one(header, _SATURATION, "SATURATE", level, "[ADU]")


def saturation_of(header: fits.Header, data: Any, log: Log) -> float:
    """Saturation level in ADU: from the header, else just below the brightest pixels."""
    finite = data[np.isfinite(data)]
    median = float(np.median(finite))
    brightest = float(finite.max())
    level = 0.05 * median + 0.95 * brightest
    for keyword, value in numbers(header, _SATURATION):
        if value <= median:
            log(f"{keyword} = {value:g} is below the median of the image: not used")
        elif value > brightest > median and np.count_nonzero(finite == brightest) >= _PLATEAU:
            log(
                f"{keyword} = {value:g}, but the brightest pixels are all {brightest:g}: "
                f"saturation level is {level:g} ADU"
            )
            return level
        else:
            log(f"Saturation level is {value:g} ADU, from {keyword}")
            return value
    log(f"There is no saturation level in the header; guessed {level:g} ADU from the brightest")
    return level


def filter_of(header: fits.Header, log: Log) -> str:
    """Name of the filter; `DEFAULT_FILTER` where the header names none that is known."""
    unfiltered = ""
    for keyword in _FILTER:
        text = str(header.get(keyword, "")).strip()
        if not text:
            continue
        name = known_filter(text)
        if name is not None:
            log(f"Filter is {name}, from {keyword} = {text}")
            return name
        if means_unfiltered(text):
            # One of several wheels stands open; another one may hold the filter.
            unfiltered = unfiltered or f"{keyword} = {text}"
        else:
            log(f"{keyword} = {text} is no known filter")
    if unfiltered:
        log(f"{unfiltered}: no filter; treated as {DEFAULT_FILTER}")
    else:
        log(f"The filter is not known; using {DEFAULT_FILTER}")
    return DEFAULT_FILTER


def numbers(header: fits.Header, keywords: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """Keyword and value of each of the keywords that is there and is a finite number."""
    for keyword in keywords:
        value = header.get(keyword)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            continue
        if np.isfinite(number):
            yield keyword, number


def _with_one(
    header: fits.Header, keywords: tuple[str, ...], keyword: str, value: float, unit: str
) -> fits.Header:
    copy = header.copy()
    for each in keywords:
        copy.remove(each, ignore_missing=True, remove_all=True)
    copy[keyword] = (value, unit)
    return copy


def _doubt_gain(gain: float, data: Any, log: Log) -> None:
    """Say so where the pixels scatter less than their photons alone would make them."""
    sky, noise = float(np.median(data[np.isfinite(data)])), _pixel_noise(data)
    if 0 < _DOUBT * noise < np.sqrt(max(sky, 0) / gain):
        log(
            f"Warning: with a gain of {gain:g} e-/ADU the sky would scatter by more than the "
            f"{noise:.3g} ADU that it does: if this is no average of frames, the gain is wrong"
        )


def _pixel_noise(data: Any) -> float:
    """Noise of a pixel from the differences of neighbours, robust against stars."""
    difference = np.diff(data[:: max(1, data.shape[0] // 500)], axis=1)
    difference = difference[np.isfinite(difference)]
    return float(1.4826 * np.median(np.abs(difference)) / np.sqrt(2)) if difference.size else 0.0
