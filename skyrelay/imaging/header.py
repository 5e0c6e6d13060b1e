"""What do the header and the pixels say about gain, saturation, filter and time?

Each telescope writes these with keywords of its own; the tables here are tried in order.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.time import Time
from stdpipe.utils import get_obs_time

from skyrelay.errors import Permanent
from skyrelay.sky.filters import DEFAULT_FILTER, known_filter, means_unfiltered

Log = Callable[..., None]

#: EGAIN goes first: where a camera writes both, GAIN is its amplifier's setting.
_GAIN = ("EGAIN", "GAIN", "CCD_GAIN", "CCDGAIN", "GAINEFF", "GAIN1", "ESO DET OUT1 CONAD")
#: Noise of a pixel that no image in counts is below, in e-.
_LEAST_NOISE = 0.3
_SATURATION = ("SATURATE", "SATURATI", "SATLEVEL", "SATURLEV", "SATUR_LE")
_FILTER = (
    *("FILTER", "FILTERS", "CAMFILT", "FILTNAM", "FILTNAME", "FILTERID", "CCDFLTID", "FILT_ID"),
    *("FILTER1", "FILTER2", "FILT1", "FILT2", "INSFLNAM", "BAND", "WFFBAND", "FPA.FILTER"),
    *("ESO INS FILT1 NAME", "ESO INS FILT2 NAME", "SURVEY"),
)
_DATE = ("DATE-OBS", "DATE_OBS", "DATEOBS", "UTDATE", "DATE-BEG", "DATE-AVG")
_HOUR = ("TIME-OBS", "TIMEOBS", "UTC-OBS", "UT", "UTSTART", "UTC", "TAIHMS")
_DAYS = (("MJD-OBS", "mjd"), ("MJD_OBS", "mjd"), ("JD", "jd"), ("MJD", "mjd"), ("JD_UTC", "jd"))


def gain_of(header: fits.Header, data: Any, log: Log) -> float:
    """Gain in e-/ADU: from the header, else guessed; 1 where nothing is known."""
    for keyword, value in _numbers(header, _GAIN):
        if 0 < value < 1000:
            log(f"Gain is {value:g} e-/ADU, from {keyword}")
            return value
        log(f"{keyword} = {value:g} is no sensible gain")
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


def saturation_of(header: fits.Header, data: Any, log: Log) -> float:
    """Saturation level in ADU: from the header, else just below the brightest pixels."""
    finite = data[np.isfinite(data)]
    median = float(np.median(finite))
    brightest = float(finite.max())
    for keyword, value in _numbers(header, _SATURATION):
        if value > median:
            log(f"Saturation level is {value:g} ADU, from {keyword}")
            return value
        log(f"{keyword} = {value:g} is below the median of the image: not used")
    level = 0.05 * median + 0.95 * brightest
    log(f"There is no saturation level in the header; guessed {level:g} ADU from the brightest")
    return level


def filter_of(header: fits.Header, log: Log) -> str:
    """Name of the filter; `DEFAULT_FILTER` where the header names none that is known."""
    for keyword in _FILTER:
        text = str(header.get(keyword, "")).strip()
        if not text:
            continue
        name = known_filter(text)
        if name is not None:
            log(f"Filter is {name}, from {keyword} = {text}")
            return name
        if means_unfiltered(text):
            log(f"{keyword} = {text}: no filter; treated as {DEFAULT_FILTER}")
            return DEFAULT_FILTER
        log(f"{keyword} = {text} is no known filter")
    log(f"The filter is not known; using {DEFAULT_FILTER}")
    return DEFAULT_FILTER


def time_of(header: fits.Header, log: Log) -> Time | None:
    """Time of the observation (UTC, its start), or None where the header has none."""
    with warnings.catch_warnings():
        # Times before 1972 have no exact UTC; nobody minds.
        warnings.simplefilter("ignore")
        for read in (_from_date, _from_days, _from_stdpipe):
            time = read(header)
            if time is not None:
                log(f"Time of the observation is {time.isot}")
                return time
    log("The time of the observation is not known")
    return None


def parsed_time(text: str) -> Time:
    """A time that a user wrote.

    Raises
    ------
    Permanent
        If it cannot be understood.
    """
    try:
        number = float(text)
    except ValueError:
        time = get_obs_time(string=text)
    else:
        time = Time(number, format="jd" if number > 2400000 else "mjd")
    if time is None:
        raise Permanent(f"The time '{text}' cannot be understood; write it as 2026-01-31T23:59:59.")
    return time


def _pixel_noise(data: Any) -> float:
    """Noise of a pixel from the differences of neighbours, robust against stars."""
    difference = np.diff(data[:: max(1, data.shape[0] // 500)], axis=1)
    difference = difference[np.isfinite(difference)]
    return float(1.4826 * np.median(np.abs(difference)) / np.sqrt(2)) if difference.size else 0.0


def _numbers(header: fits.Header, keywords: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    for keyword in keywords:
        value = header.get(keyword)
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if np.isfinite(number):
            yield keyword, number


def _from_date(header: fits.Header) -> Time | None:
    """Date keyword, with the hour from another keyword where the date has none."""
    for keyword in _DATE:
        date = _iso_date(str(header.get(keyword, "")).strip())
        if not date:
            continue
        if "T" not in date:
            hour = next(filter(None, (_hour(header.get(key)) for key in _HOUR)), None)
            if hour is None:
                continue
            date = f"{date}T{hour}"
        time = _parsed(date)
        if time is not None:
            return time
    return None


def _iso_date(text: str) -> str:
    """ISO 8601 for the notations in use; the old standard's dd/mm/yy is of the 20th century."""
    text = text.replace(" ", "T").rstrip("Z")
    old = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{2}|\d{4})", text)
    if old:
        day, month, year = old.groups()
        return f"{'19' + year if len(year) == 2 else year}-{int(month):02d}-{int(day):02d}"
    separated = re.fullmatch(r"(\d{4})[-:/.](\d{2})[-:/.](\d{2})(T.*)?", text)
    if not separated:
        return ""
    year, month, day, hour = separated.groups()
    if hour:
        hour = re.sub(r"^T(\d\d)-(\d\d)-(\d\d)", r"T\1:\2:\3", hour)
    return f"{year}-{month}-{day}{hour or ''}"


def _hour(value: Any) -> str | None:
    text = str(value).strip()
    return text if re.fullmatch(r"\d{1,2}:\d{1,2}:\d{1,2}(\.\d*)?", text) else None


def _from_days(header: fits.Header) -> Time | None:
    for keyword, kind in _DAYS:
        for _, number in _numbers(header, (keyword,)):
            if (2400000 < number < 2500000) if kind == "jd" else (1 < number < 100000):
                return Time(number, format=kind)
    return None


def _from_stdpipe(header: fits.Header) -> Time | None:
    # The date on which the file was written is no time of an observation.
    usable = fits.Header([card for card in header.cards if card.keyword != "DATE"])
    try:
        return get_obs_time(header=usable)
    except Exception:
        return None


def _parsed(text: str) -> Time | None:
    try:
        return Time(text, scale="utc")
    except ValueError:
        return None
