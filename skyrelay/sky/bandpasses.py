"""What does SkyPortal call our filters, and in which system are their magnitudes?

Names are those of the bandpasses of sncosmo. The systems are those that STDWeb tells SkyPortal.
"""

from __future__ import annotations

from dataclasses import dataclass

AB, VEGA = "ab", "vega"


@dataclass(frozen=True)
class Bandpass:
    """A bandpass of sncosmo and the system of the magnitudes in it."""

    name: str
    system: str


#: By the names of our filters.
BANDPASSES = {
    "U": Bandpass("bessellux", VEGA),
    **{band: Bandpass(f"bessell{band.lower()}", VEGA) for band in "BVRI"},
    **{band: Bandpass(f"sdss{band}", AB) for band in "ugriz"},
    "y": Bandpass("ps1::y", AB),
    "G": Bandpass("gaia::g", AB),
    "BP": Bandpass("gaia::gbp", AB),
    "RP": Bandpass("gaia::grp", AB),
    "J": Bandpass("2massj", VEGA),
    "H": Bandpass("2massh", VEGA),
    **{band: Bandpass("2massks", VEGA) for band in ("K", "Ks")},
}


def bandpass_of(column: str) -> Bandpass | None:
    """The bandpass of a catalogue column such as ``rmag``; None if there is none."""
    return BANDPASSES.get(column.removesuffix("mag"))
