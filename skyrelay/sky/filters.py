"""Which photometric filters are known, under which names, and with which colour and catalogue?"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Filter of an image whose header does not say which one it was.
DEFAULT_FILTER = "r"


@dataclass(frozen=True)
class Filter:
    """A photometric filter.

    Attributes
    ----------
    name : str
        Short name; the catalogue column of its magnitude is ``<name>mag``.
    title : str
        What a person calls it.
    aliases : tuple of str
        Other names found in headers, in the form that `_simplified` makes.
    colors : tuple of pairs of str
        Colours for the colour term, the best first; both are names of filters.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    colors: tuple[tuple[str, str], ...]

    @property
    def column(self) -> str:
        """Catalogue column of the magnitude."""
        return f"{self.name}mag"


_JOHNSON = (("B", "V"), ("V", "R"), ("V", "I"), ("g", "r"), ("BP", "RP"))
_SLOAN = (("g", "r"), ("r", "i"), ("g", "i"), ("i", "z"), ("B", "V"), ("BP", "RP"))
_GAIA = (("BP", "RP"), ("g", "r"), ("B", "V"))
_INFRARED = (("J", "Ks"), ("J", "H"), ("H", "Ks"))

#: What headers name beside the band.
_JOHNSON_SYSTEMS = (
    "johnson cousins johnsoncousins jc bess bessel bessell kron landolt harris".split()
)
_SLOAN_SYSTEMS = "sdss sloan ps1 ps panstarrs decam des ztf sd skymapper".split()


def _johnson(name: str, *aliases: str, first: tuple[tuple[str, str], ...] = ()) -> Filter:
    lower = name.lower()
    names = [f"{system}{lower}" for system in (*_JOHNSON_SYSTEMS, "h")]
    names += [f"{lower}{system}" for system in _JOHNSON_SYSTEMS]
    title = f"Johnson-Cousins {name}"
    return Filter(name, title, (*names, *aliases), (*first, *_JOHNSON))


def _sloan(name: str, *aliases: str, first: tuple[tuple[str, str], ...] = ()) -> Filter:
    # SG, SR and so on are the codes of the AAVSO.
    names = [f"{system}{name}" for system in (*_SLOAN_SYSTEMS, "s")]
    names += [f"{name}{system}" for system in _SLOAN_SYSTEMS]
    title = f"Sloan-like {name}"
    return Filter(name, title, (*names, f"{name}p", f"{name}prime", *aliases), (*first, *_SLOAN))


#: Every known filter by its name.
FILTERS: dict[str, Filter] = {
    each.name: each
    for each in (
        _johnson("U", first=(("U", "B"),)),
        _johnson("B", "blue"),
        _johnson("V", "green"),
        _johnson("R", "rc", "red", first=(("V", "R"),)),
        _johnson("I", "ic", first=(("V", "I"), ("R", "I"))),
        _sloan("u", first=(("u", "g"),)),
        _sloan("g"),
        _sloan("r"),
        _sloan("i", first=(("r", "i"),)),
        _sloan("z", "zs", first=(("i", "z"), ("r", "i"))),
        _sloan("y", "y", first=(("z", "y"), ("i", "z"))),
        Filter("G", "Gaia G", ("gaiag",), _GAIA),
        Filter("BP", "Gaia BP", ("gaiabp", "gbp", "bp"), _GAIA),
        Filter("RP", "Gaia RP", ("gaiarp", "grp"), _GAIA),
        Filter("J", "2MASS J", ("j", "2massj"), _INFRARED),
        Filter("H", "2MASS H", ("h", "2massh"), _INFRARED),
        Filter("Ks", "2MASS Ks", ("ks", "k", "kshort", "2massk", "2massks"), _INFRARED),
    )
}

#: What headers call an image taken without a filter.
_UNFILTERED = {"clear", "c", "l", "lum", "luminance", "open", "none", "empty", "noname", "n", "w"}

_BY_ALIAS = {alias: each.name for each in FILTERS.values() for alias in each.aliases}


def known_filter(text: str) -> str | None:
    """Name of the filter that ``text`` (of a header or a user) means; None if unknown.

    Upper and lower case are told apart where that decides (``R`` is Cousins, ``r`` Sloan).
    """
    for part in (text, *re.split(r"[\s,;|]+", text.strip())):
        word = re.sub(r"\.0+$", "", part.strip().strip("'\"*"))
        if word in FILTERS:
            return word
        simple = _simplified(word)
        if simple in _BY_ALIAS and not (len(simple) == 1 and word.islower() and simple in "jhk"):
            return _BY_ALIAS[simple]
    return None


def means_unfiltered(text: str) -> bool:
    """Whether ``text`` is how headers say that there was no filter."""
    return _simplified(text) in _UNFILTERED


def _simplified(text: str) -> str:
    """Lower case without punctuation, trailing zeros and serial numbers (``r.00000`` -> ``r``)."""
    text = re.sub(r"\.0+$", "", text.strip().lower())
    text = text.replace("'", "p").replace("+", "")
    return re.sub(r"[\s_\-./()]+", "", text)


def best_catalogue(filter_name: str, dec: float | None) -> str:
    """Name of the catalogue that suits the filter at the declination (degrees)."""
    if filter_name in ("G", "BP", "RP"):
        return "gaiaedr3"
    if filter_name in ("J", "H", "Ks"):
        return "2mass"
    if filter_name in ("U", "B", "V", "R", "I", "u"):
        return "gaiadr3syn"
    north = dec is None or dec > -30
    if filter_name == "y":
        return "ps1" if north else "gaiadr3syn"
    return "ps1" if north else "skymapper"


def best_template(filter_name: str, ra: float | None, dec: float | None) -> str:
    """Name of the survey whose images suit as template at the position (degrees)."""
    if filter_name in ("J", "H", "Ks"):
        return "2mass"
    if ra is None or dec is None or dec > -30:
        return "ps1"
    return "ls" if dec > -70 and _in_legacy_survey(ra, dec) else "skymapper"


def _in_legacy_survey(ra: float, dec: float) -> bool:
    from stdpipe.templates import point_in_ls  # Slow to import, and seldom needed.

    return bool(point_in_ls(ra, dec))
