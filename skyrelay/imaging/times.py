"""When was an image taken, in whatever dialect its header says so?

Dates with and without their hour, in the notations of five decades, with an offset from UTC, as
Julian days; each keyword is tried in order, and what cannot be understood is passed over.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from astropy.io import fits
from astropy.time import Time, TimeDelta
from stdpipe.utils import get_obs_time

from skyrelay.errors import Permanent
from skyrelay.imaging.arrays import Log
from skyrelay.imaging.header import exposure_of, numbers

#: Of the middle of an exposure; all others are of its start.
_MIDDLE_DATE = ("DATE-MID", "DATE-AVG", "UTMIDDLE")
_MIDDLE_DAYS = (("MJD-MID", "mjd"), ("MJD-AVG", "mjd"))
_DATE = (
    *("DATE-OBS", "DATE_OBS", "DATEOBS", "OBSDATE", "UTDATE", "UT-DATE", "DATE-BEG", "DATE_BEG"),
    *_MIDDLE_DATE,
)
#: Local times, which mean something only with their offset from UTC.
_LOCAL_DATE = ("DATE-LOC", "LOCAL-DT")
_HOUR = (
    *("TIME-OBS", "TIME_OBS", "TIMEOBS", "UTC-OBS", "UT-OBS", "UTOBS", "UT", "UTSTART", "UTC"),
    *("UT-TIME", "UTTIME", "TIME-BEG", "TAIHMS", "UTSHUT", "EXPSTART"),
)
_DAYS = (
    *(("MJD-OBS", "mjd"), ("MJD_OBS", "mjd"), ("MJD-BEG", "mjd"), ("JD", "jd"), ("MJD", "mjd")),
    *(("JD_UTC", "jd"), ("JD-OBS", "jd"), ("EXPSTART", "mjd")),
    *_MIDDLE_DAYS,
)
#: Where several frames were combined, hours may lie between the start and the light.
_COMBINED = ("NCOMBINE", "STACKCNT", "NSTACK")
_MIDNIGHT = "T00:00:00.000"

_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
#: Years in which astronomical images were taken.
_YEARS = range(1840, 2200)

_CLOCK = r"(\d{1,2})[:\-hH ](\d{1,2})(?:[:\-mM ](\d{1,2}(?:\.\d*)?))?s?"
#: The same without separators, in full.
_DENSE = r"(\d{2})(\d{2})(\d{2}(?:\.\d*)?)"
_OFFSET = r"[+\-]\d{2}:?\d{2}"
_ZONE = rf"(Z|UTC?|GMT|{_OFFSET})?"


def time_of(header: fits.Header, log: Log) -> Time | None:
    """Time of the observation (UTC), or None where the header has none.

    Its start, or the middle where the header tells no other; of a stack the middle.
    """
    with warnings.catch_warnings():
        # Times before 1972 have no exact UTC; nobody minds.
        warnings.simplefilter("ignore")
        for read in (_from_middle_of_stack, _from_date, _from_days, _from_stdpipe, _from_day):
            time = read(header)
            if time is not None:
                log(f"Time of the observation is {time.isot}")
                if time.isot.endswith(_MIDNIGHT):
                    log("Warning: The header may tell the day only: see whether this is the hour")
                return time
    log("The time of the observation is not known")
    return None


def middle_of(header: fits.Header) -> Time | None:
    """Middle of the exposure (UTC), or None where the header has no time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = _told_middle(header)
        start = told or time_of(header, lambda *_: None)
    if told is not None or start is None:
        return told
    return start + TimeDelta(exposure_of(header) or 0.0, format="sec") / 2


def with_times(header: fits.Header, start: Time, middle: Time) -> fits.Header:
    """Copy of the header with start and middle of the exposure, and no other word about them."""
    copy = header.copy()
    for keyword in (*_DATE, *_LOCAL_DATE, *_HOUR, *(keyword for keyword, _ in _DAYS)):
        copy.remove(keyword, ignore_missing=True, remove_all=True)
    copy["DATE-OBS"] = (start.isot, "[UTC] start of the first exposure")
    copy["DATE-MID"] = (middle.isot, "[UTC] middle of the exposures")
    return copy


def parsed_time(text: str) -> Time:
    """A time that a user wrote.

    Raises
    ------
    Permanent
        If it cannot be understood.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        time = _parsed_by_user(text)
    if time is None:
        raise Permanent(f"The time '{text}' cannot be understood; write it as 2026-01-31T23:59:59.")
    return time


def _parsed_by_user(text: str) -> Time | None:
    try:
        number = float(text)
    except ValueError:
        return _notation(text) or _forgiving(get_obs_time, string=text)
    return _days(number, "jd" if number > 2400000 else "mjd")


def _from_middle_of_stack(header: fits.Header) -> Time | None:
    if not any(number > 1 for _, number in numbers(header, _COMBINED)):
        return None
    return _told_middle(header)


def _told_middle(header: fits.Header) -> Time | None:
    dates = (_notation(str(header.get(key, ""))) for key in _MIDDLE_DATE)
    return next(filter(None, dates), None) or _time_of_days(header, _MIDDLE_DAYS)


def _from_date(header: fits.Header) -> Time | None:
    """Date keyword, with the hour from another keyword where the date has none."""
    for keyword in _DATE:
        text = str(header.get(keyword, "")).strip()
        time = _notation(text)
        if time is None and _day(text) is not None:
            clocks = (_clock_of(header.get(key)) for key in _HOUR)
            time = next(filter(None, (_notation(f"{text} {clock}") for clock in clocks)), None)
        if time is not None:
            return time
    local = (str(header.get(keyword, "")).strip() for keyword in _LOCAL_DATE)
    return next((_notation(text) for text in local if re.search(rf"\d{_OFFSET}$", text)), None)


def _from_day(header: fits.Header) -> Time | None:
    """The beginning of the day, where nothing tells the hour."""
    days = (_day(str(header.get(keyword, ""))) for keyword in _DATE)
    day = next(filter(None, days), None)
    return None if day is None else Time(f"{day[0]:04d}-{day[1]:02d}-{day[2]:02d}")


def _notation(text: str) -> Time | None:
    """The time that a date with its hour says; None if it is none."""
    patterns = (rf"(.*?\d)[T\s]\s*{clock}\s*{_ZONE}" for clock in (_CLOCK, _DENSE))
    match = next(filter(None, (re.fullmatch(each, text.strip()) for each in patterns)), None)
    day = _day(match[1]) if match else None
    if match is None or day is None:
        return None
    hour, minute, second = int(match[2]), int(match[3]), float(match[4] or 0)
    if not (hour < 24 and minute < 60 and second < 61):
        return None
    time = _forgiving(
        Time, f"{day[0]:04d}-{day[1]:02d}-{day[2]:02d}T{hour:02d}:{minute:02d}:{second:09.6f}"
    )
    zone = re.fullmatch(r"([+\-])(\d{2}):?(\d{2})", match[5] or "")
    if time is None or zone is None:
        return time
    hours = int(zone[2]) + int(zone[3]) / 60
    return time - (hours if zone[1] == "+" else -hours) / 24


def _day(text: str) -> tuple[int, int, int] | None:
    """Year, month and day; None if this is none."""
    words = re.split(r"[\s\-/.:,]+", text.strip())
    if len(words) == 1 and re.fullmatch(r"\d{8}", text.strip()):
        words = [text.strip()[:4], text.strip()[4:6], text.strip()[6:]]
    if len(words) != 3:
        return None
    months = [_MONTHS.index(w[:3].lower()) + 1 if w[:3].lower() in _MONTHS else 0 for w in words]
    if any(months):
        month = max(months)
        rest = [word for word, named in zip(words, months, strict=True) if not named]
        if len(rest) != 2 or not all(word.isdecimal() for word in rest):
            return None
        year, day = rest if len(rest[0]) == 4 else (rest[1], rest[0])
        return _valid(_year(year), month, int(day))
    if not all(word.isdecimal() for word in words):
        return None
    if len(words[0]) == 4:
        return _valid(int(words[0]), int(words[1]), int(words[2]))
    if len(words[0]) <= 2 and int(words[0]) > 31:
        return _valid(_year(words[0]), int(words[1]), int(words[2]))
    # The old standard: dd/mm/yy.
    return _valid(_year(words[2]), int(words[1]), int(words[0]))


def _year(word: str) -> int:
    """The standard means the 20th century; programs that outlived it, ours, as far as it goes."""
    if len(word) != 2:
        return int(word)
    year = 2000 + int(word)
    return year if year <= datetime.now(UTC).year else year - 100


def _valid(year: int, month: int, day: int) -> tuple[int, int, int] | None:
    try:
        datetime(year, month, day, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return (year, month, day) if year in _YEARS else None


def _clock_of(value: Any) -> str | None:
    """``h:m:s`` of a keyword's value: written so, as decimal hours, or as seconds of the day."""
    text = str(value).strip()
    if re.fullmatch(rf"{_CLOCK}\s*{_ZONE}", text):
        return text
    try:
        seconds = float(text)
    except ValueError:
        return None
    if 0 <= seconds < 24:
        seconds *= 3600
    if not 0 <= seconds < 86400:
        return None
    return f"{int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}:{seconds % 60:06.3f}"


def _from_days(header: fits.Header) -> Time | None:
    return _time_of_days(header, _DAYS)


def _time_of_days(header: fits.Header, keywords: Iterable[tuple[str, str]]) -> Time | None:
    """The time that the first sensible one of these keywords, each with its format, says."""
    found = (_days(number, kind) for key, kind in keywords for _, number in numbers(header, (key,)))
    return next((time for time in found if time is not None), None)


def _days(number: float, kind: str) -> Time | None:
    sensible = 2390000 < number < 2500000 if kind == "jd" else 1 < number < 100000
    return Time(number, format=kind, scale="utc") if sensible else None


def _from_stdpipe(header: fits.Header) -> Time | None:
    # The date on which the file was written is no time of an observation.
    usable = fits.Header([card for card in header.cards if card.keyword != "DATE"])
    time = _forgiving(get_obs_time, header=usable)
    return time if time is not None and _is_sensible(time) else None


def _is_sensible(time: Time) -> bool:
    try:
        return time.datetime.year in _YEARS
    except (ValueError, OverflowError):
        return False


def _forgiving(parse: Callable[..., Any], *words: Any, **options: Any) -> Time | None:
    """What ``parse`` understands; None where it stumbles, in whichever of its many ways."""
    try:
        return parse(*words, **options)
    except Exception:
        return None
