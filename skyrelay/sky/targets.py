"""Which positions does the user mean? Coordinates in any notation, pixels, or names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from skyrelay.errors import Permanent
from skyrelay.imaging.wcs import to_pixels, to_sky
from skyrelay.sky.names import position_of
from skyrelay.sky.remote import Remote

_PIXELS = re.compile(r"\bx\s*=\s*(\S+?)[\s,;]+y\s*=\s*([^\s,;]+)", re.IGNORECASE)
_NUMBER = r"[+-]?\d+(?:\.\d*)?"
_DEGREE = r"\s*(?:d|deg|°)?"
_DEGREES = re.compile(rf"^({_NUMBER}){_DEGREE}[\s,;]+({_NUMBER}){_DEGREE}$")
#: Hours in full, and decimal degrees.
_MIXED = re.compile(
    rf"^(\d{{1,2}}[:h]\d{{1,2}}(?:[:m]\d{{1,2}}(?:\.\d*)?)?[ms]?)[\s,;]+({_NUMBER}){_DEGREE}$"
)
#: What may stand before the numbers, or behind them, and says nothing new.
_LABELS = re.compile(r"\b(?:RA|Dec|Decl|DE|J2000(?:\.0)?|ICRS)\b\s*[:=]?\s*", re.IGNORECASE)
_SEXAGESIMAL = re.compile(
    r"^(\d{1,2}[:h\s]\s*\d{1,2}(?:[:m\s]\s*\d{1,2}(?:\.\d*)?s?|\.\d*m?|m)?)[\s,;]*"
    r"([+-]?\s*\d{1,2}[:d°\s]\s*\d{1,2}(?:[:m'\s]\s*\d{1,2}(?:\.\d*)?[s\"]?|\.\d*m?|m)?)$"
)


@dataclass(frozen=True)
class Target:
    """A position to measure; ``x`` and ``y`` are 0-based pixels where the user gave pixels."""

    name: str
    ra: float | None
    dec: float | None
    x: float | None = None
    y: float | None = None

    def as_config(self) -> dict[str, Any]:
        """What the configuration keeps of it."""
        entries = {"name": self.name, "ra": self.ra, "dec": self.dec, "x": self.x, "y": self.y}
        return {key: value for key, value in entries.items() if value is not None}


def parse_targets(text: str, wcs: WCS | None, remote: Remote) -> list[Target]:
    """Targets from a text with one per line.

    Raises
    ------
    Permanent
        If a line cannot be understood, or its name is unknown.
    Retriable
        If no name resolver can be reached.
    """
    lines = [line.strip() for line in text.splitlines()]
    targets = [_target(line, wcs, remote) for line in lines if line and not line.startswith("#")]
    for target in targets:
        position = f"x={target.x} y={target.y}" if target.ra is None else ""
        if target.ra is not None and target.dec is not None:
            position = f"RA {target.ra:.6f} Dec {target.dec:+.6f} deg {position}"
        remote.log(f"Target {target.name}: {position}")
    return targets


def resolve(text: str, remote: Remote) -> tuple[float, float]:
    """Right ascension and declination in degrees (ICRS) of coordinates or of a name.

    Raises
    ------
    Permanent
        If the name is unknown.
    Retriable
        If no name resolver can be reached.
    """
    position = parse_coordinates(text)
    return position if position is not None else position_of(remote, text.strip())


def parse_coordinates(text: str) -> tuple[float, float] | None:
    """Degrees of coordinates in degrees or in hours and degrees; None if ``text`` is neither."""
    text = " ".join(_LABELS.sub(" ", text).split()).replace("\N{MINUS SIGN}", "-")
    if match := _DEGREES.match(text):
        return _checked(float(match[1]), float(match[2]), text)
    if match := _SEXAGESIMAL.match(text) or _MIXED.match(text):
        try:
            position = SkyCoord(
                match[1].strip(), re.sub(r"^([+-])\s+", r"\1", match[2]), unit=("hourangle", "deg")
            )
        except ValueError:
            raise Permanent(f"'{text}' are no coordinates on the sky.") from None
        return float(position.ra.deg), float(position.dec.deg)
    return None


def parse_circle(text: str) -> tuple[float, float, float | None] | None:
    """Degrees of coordinates, and of the radius that may stand behind them; None if neither.

    Raises
    ------
    Permanent
        If the coordinates are beyond the sky, or the radius is none.
    """
    words = text.replace(",", " ").split()
    plain = len(words) == 3 and all(re.fullmatch(_NUMBER, word) for word in words)
    if not plain and (position := parse_coordinates(text)) is not None:
        return *position, None
    if len(words) < 3 or re.fullmatch(_NUMBER, words[-1]) is None:
        return None
    position = parse_coordinates(" ".join(words[:-1]))
    if position is None:
        return None
    radius = float(words[-1])
    if not 0 < radius <= 180:
        raise Permanent(f"{words[-1]} degrees are no radius on the sky.")
    return *position, radius


def pixels_of(targets: list[dict[str, Any]], wcs: WCS | None) -> tuple[Any, Any]:
    """0-based pixel positions of targets of the configuration; NaN where they have none."""
    x = np.array([float(target.get("x", np.nan)) for target in targets])
    y = np.array([float(target.get("y", np.nan)) for target in targets])
    if wcs is not None and len(targets):
        ra = [float(target.get("ra", np.nan)) for target in targets]
        dec = [float(target.get("dec", np.nan)) for target in targets]
        sky_x, sky_y = to_pixels(wcs, ra, dec)
        given = np.isfinite(x) & np.isfinite(y)
        x, y = np.where(given, x, sky_x), np.where(given, y, sky_y)
    return x, y


def _target(line: str, wcs: WCS | None, remote: Remote) -> Target:
    if match := _PIXELS.search(line):
        return _pixel_target(line, match, wcs)
    position = parse_coordinates(line)
    if position is not None:
        return Target(line, *position)
    name, position = _named_coordinates(line)
    if position is not None:
        return Target(name, *position)
    return Target(line, *position_of(remote, line))


def _pixel_target(line: str, match: re.Match[str], wcs: WCS | None) -> Target:
    try:
        x, y = float(match[1]), float(match[2])
    except ValueError:
        raise Permanent(f"'{line}' names no pixel; write it as x=123.4 y=567.8.") from None
    name = (line[: match.start()] + line[match.end() :]).strip(" ,;") or match[0]
    if wcs is None:
        return Target(name, None, None, x, y)
    position = to_sky(wcs, x, y)
    ra, dec = position or (None, None)
    return Target(name, ra, dec, x, y)


def _named_coordinates(line: str) -> tuple[str, tuple[float, float] | None]:
    """A name followed by coordinates."""
    words = line.split()
    for start in range(1, len(words) - 1):
        # "NGC 1275" must stay a name, and "M 31 10.68 41.27" is a name with coordinates.
        rest = " ".join(words[start:])
        if (":" in rest or "." in rest) and (position := parse_coordinates(rest)) is not None:
            return " ".join(words[:start]), position
    return line, None


def _checked(ra: float, dec: float, text: str) -> tuple[float, float]:
    if not (0 <= ra <= 360 and -90 <= dec <= 90):
        raise Permanent(f"'{text}' are no coordinates on the sky.")
    return ra % 360, dec
