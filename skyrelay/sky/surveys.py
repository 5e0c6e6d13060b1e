"""Which surveys of the sky are known: catalogues to calibrate with, images to subtract?

Only their names and filters; how each is asked is said elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CatalogueSurvey:
    """A catalogue in VizieR that images are calibrated with.

    ``limit_column`` is the magnitude, as VizieR calls it, that `cat_limit` is applied to there.
    """

    title: str
    filters: tuple[str, ...]
    limit_column: str


@dataclass(frozen=True)
class HipsSurvey:
    """A survey of which there are images as HiPS.

    Attributes
    ----------
    title : str
        What a person calls it.
    bands : dict of str to str
        The id of its HiPS by filter.
    pixel_scale : float
        Of its images, in arcsec.
    """

    title: str
    bands: dict[str, str]
    pixel_scale: float


#: The filters of Johnson and Cousins that surveys have, or that follow from theirs.
JOHNSON = ("B", "V", "R", "I")

#: Catalogues by the name that the parameter ``cat_name`` has for them.
CATALOGUES: dict[str, CatalogueSurvey] = {
    "gaiadr3syn": CatalogueSurvey(
        "Gaia DR3 synthetic photometry", ("U", *JOHNSON, "u", "g", "r", "i", "z", "y"), "Vmag"
    ),
    "ps1": CatalogueSurvey("Pan-STARRS DR1", (*JOHNSON, "g", "r", "i", "z", "y"), "rmag"),
    "skymapper": CatalogueSurvey("SkyMapper DR4", (*JOHNSON, "u", "g", "r", "i", "z"), "rPSF"),
    "sdss": CatalogueSurvey("SDSS DR16", ("u", "g", "r", "i", "z"), "rmag"),
    "atlas": CatalogueSurvey("ATLAS-REFCAT2", (*JOHNSON, "g", "r", "i", "z"), "rmag"),
    "gaiaedr3": CatalogueSurvey("Gaia eDR3", ("G", "BP", "RP"), "Gmag"),
    "2mass": CatalogueSurvey("2MASS", ("J", "H", "Ks"), "Jmag"),
    "vhs": CatalogueSurvey("VISTA Hemisphere Survey DR5", ("J", "H", "Ks"), "Jap3"),
}

#: Surveys as HiPS by the name that the parameter ``template`` has for them.
HIPS: dict[str, HipsSurvey] = {
    "skymapper": HipsSurvey(
        "SkyMapper",
        # DR4 is there in g, r and i only; the others are of DR1.
        {"u": "CDS/P/skymapper-U", "z": "CDS/P/skymapper-Z"}
        | {band: f"CDS/P/Skymapper/DR4/{band}" for band in "gri"},
        0.5,
    ),
    "des": HipsSurvey("DES DR2", {band: f"CDS/P/DES-DR2/{band}" for band in "griz"}, 0.263),
    "decaps": HipsSurvey(
        "DECaPS DR2", {band: f"CDS/P/DECaPS/DR2/{band}" for band in "griz"}, 0.262
    ),
    "ztf": HipsSurvey("ZTF DR7", {band: f"CDS/P/ZTF/DR7/{band}" for band in "gri"}, 1.01),
    "2mass": HipsSurvey(
        "2MASS", {"J": "CDS/P/2MASS/J", "H": "CDS/P/2MASS/H", "Ks": "CDS/P/2MASS/K"}, 1.0
    ),
}

#: Surveys whose original images are fetched, likewise: title and filters.
ORIGINALS: dict[str, tuple[str, str]] = {
    "ps1": ("Pan-STARRS", "grizy"),
    "ls": ("Legacy Survey", "griz"),
}
