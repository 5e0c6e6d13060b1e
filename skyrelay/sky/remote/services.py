"""Which services are asked about the sky, and what can one do where they cannot be?"""

from __future__ import annotations

from dataclasses import dataclass

from skyrelay.settings import Settings

_MIB = 1024**2


@dataclass(frozen=True)
class Service:
    """A service in the network.

    Attributes
    ----------
    name : str
        Short name: its folder in the cache, and ``skyrelay_<name>_urls`` of the settings.
    title : str
        What a person calls it.
    instead : str
        What a user can do without it; completes a sentence.
    kind : str
        ``skyrelay_cache_days_<kind>`` of the settings says how long its answers hold.
    largest : int
        Bytes beyond which an answer is not taken.
    """

    name: str
    title: str
    instead: str
    kind: str
    largest: int = 64 * _MIB

    @property
    def subject(self) -> str:
        """The title at the beginning of a sentence."""
        return self.title[0].upper() + self.title[1:]

    def addresses(self, settings: Settings) -> list[str]:
        """Where it and its mirrors are, the best first, without a slash at the end."""
        given: str = getattr(settings, f"skyrelay_{self.name}_urls")
        return [each.strip().rstrip("/") for each in given.split(",") if each.strip()]

    def oldest(self, settings: Settings) -> float:
        """Seconds for which its answers hold."""
        days: float = getattr(settings, f"skyrelay_cache_days_{self.kind}")
        return days * 86400


_OWN_CATALOGUE = "use a catalogue of your own with cat_name=local and cat_file"
_OWN_TEMPLATE = "choose another template, or upload one as custom_template.fits"

VIZIER = Service("vizier", "VizieR", _OWN_CATALOGUE, "catalogues", 512 * _MIB)
XMATCH = Service(
    "xmatch",
    "CDS XMatch",
    "leave the surveys out with simple_vizier=false or filter_vizier=false",
    "catalogues",
)
SKYBOT = Service(
    "skybot", "SkyBoT", "leave it out with simple_skybot=false or filter_skybot=false", "positions"
)
SESAME = Service("sesame", "Sesame", "give coordinates instead of a name", "positions", _MIB)
TRANSIENTS = Service(
    "transients",
    "the resolver of transients' names",
    "give coordinates instead of a name",
    "positions",
    _MIB,
)
HIPS2FITS = Service("hips2fits", "hips2fits", _OWN_TEMPLATE, "images", 256 * _MIB)
PS1 = Service("ps1", "the archive of Pan-STARRS", _OWN_TEMPLATE, "images", 1024 * _MIB)
LEGACY_SURVEY = Service(
    "legacy_survey", "the archive of the Legacy Survey", _OWN_TEMPLATE, "images", 1024 * _MIB
)
