"""What is to be observed, with which telescope, and how good is the night?

A `FieldSpec` is all that a user chooses. From it follow two exposures of the same sky, the
science image and its template: an `Exposure` is what rendering needs to know about one image.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from skyrelay.errors import Permanent

BANDS = ("g", "r", "i", "z")

#: The colour that goes with the colour term in each band.
COLOURS = {"g": ("g", "r"), "r": ("g", "r"), "i": ("r", "i"), "z": ("i", "z")}

#: The template covers the science image at any rotation up to about 15 degrees.
TEMPLATE_MARGIN = 1.25


@dataclass(frozen=True)
class Exposure:
    """One image of the sky: the telescope, the detector and the night.

    Fluxes are in ADU of the whole exposure: a source of magnitude `m` in the filter's band
    gives ``10 ** (-0.4 * (m - zero_point - colour_term * colour))`` ADU in total.
    """

    width: int
    height: int
    ra: float  # degrees, of the centre of the image
    dec: float
    pixel_scale: float  # arcsec per pixel
    rotation: float  # degrees
    distortion: float  # pixels, at the corners
    fwhm: float  # pixels
    beta: float
    ellipticity: float
    ellipticity_angle: float  # degrees from +x to +y
    fwhm_variation: float  # relative, from centre to corner
    band: str
    exposure_time: float  # seconds
    zero_point: float  # mag of a source of colour zero that gives 1 ADU in all
    colour_term: float
    gain: float  # electrons per ADU
    read_noise: float  # electrons
    sky_level: float  # ADU per pixel, mean
    sky_gradient: float  # relative, from edge to edge
    saturation: float  # ADU
    cosmic_rays: int
    dead_columns: int
    hot_columns: int

    @property
    def sky_rms(self) -> float:
        """Noise of the empty sky, ADU per pixel."""
        return float(np.sqrt(self.sky_level / self.gain + (self.read_noise / self.gain) ** 2))


@dataclass(frozen=True)
class FieldSpec:
    """A field of the sky and its observation; every value has a sensible default.

    The defaults are a half-metre telescope, two minutes in r on a suburban night, at a
    galactic latitude of about 30 degrees. Raises `Permanent` where a value makes no sense.
    """

    seed: int = 1
    # The field
    ra: float = 262.0  # degrees
    dec: float = 48.0
    name: str = "Synthetic field"
    star_density: float = 10_000.0  # stars per square degree brighter than r = 20
    crowding: float = 1.0  # multiplies the star density
    galaxy_density: float = 1_400.0  # galaxies per square degree brighter than r = 20
    faintest: float = 23.0  # r magnitude down to which the sky is filled
    # The image
    size: int | tuple[int, int] = 1024  # pixels, or (width, height)
    pixel_scale: float = 0.8  # arcsec per pixel
    rotation: float = 12.0  # degrees
    distortion: float = 2.0  # pixels, at the corners
    # The night and the optics
    fwhm: float = 3.5  # pixels
    beta: float = 3.0
    ellipticity: float = 0.04
    ellipticity_angle: float = 30.0
    fwhm_variation: float = 0.0
    sky_level: float = 370.0  # ADU per pixel
    sky_gradient: float = 0.05
    # The detector and the filter
    band: str = "r"
    date_obs: str = "2024-05-14T23:12:41.000"
    exposure_time: float = 120.0  # seconds
    zero_point: float = 22.5  # mag that gives 1 ADU per second
    colour_term: float = 0.06
    gain: float = 1.5  # electrons per ADU
    read_noise: float = 6.0  # electrons
    saturation: float = 60_000.0  # ADU
    cosmic_rays: int = 40
    dead_columns: int = 2
    hot_columns: int = 1
    # What the header says of the sky is a little wrong
    pointing_error: float = 3.0  # arcsec
    rotation_error: float = 0.08  # degrees
    scale_error: float = 0.0015  # relative
    # Transients
    transients_alone: int = 12
    transients_on_galaxies: int = 8
    transient_sn: tuple[float, float] = (6.0, 100.0)
    # The template
    template_depth: float = 10.0  # number of science exposures it is worth
    template_fwhm: float = 2.5  # pixels
    template_rotation: float = 4.0  # degrees
    template_offset: tuple[float, float] = (9.0, -6.0)  # arcsec, east and north
    template_sky_level: float = 150.0  # ADU per pixel
    # The reference catalogue
    catalogue_depth: float = 22.0  # r magnitude at which its error is 0.2 mag
    catalogue_position_error: float = 0.03  # arcsec per axis, of bright stars

    def __post_init__(self) -> None:
        positive = (
            "pixel_scale fwhm template_fwhm exposure_time gain saturation template_depth"
            " sky_level template_sky_level star_density galaxy_density crowding"
        )
        for name in positive.split():
            if not getattr(self, name) > 0:
                raise Permanent(f"The synthetic field needs {name} above zero.")
        if min(self.shape) < 64:
            raise Permanent("The synthetic field needs at least 64 pixels on each side.")
        if not 1 < self.beta:
            raise Permanent("A Moffat profile has a finite flux only for beta above 1.")
        if not 0 <= self.ellipticity < 0.8:
            raise Permanent("The ellipticity of the PSF must lie between 0 and 0.8.")
        if not abs(self.dec) < 85:
            raise Permanent("The synthetic field must be at least 5 degrees from the poles.")
        if self.band not in BANDS:
            raise Permanent(f"The band must be one of {', '.join(BANDS)}, not {self.band!r}.")

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the science image, as numpy counts."""
        if isinstance(self.size, int):
            return self.size, self.size
        return self.size[1], self.size[0]

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers for one purpose, independent of how many any other one used."""
        return np.random.default_rng([self.seed, crc32(purpose.encode())])

    def science(self) -> Exposure:
        """The exposure of the night."""
        height, width = self.shape
        return Exposure(
            width=width,
            height=height,
            ra=self.ra,
            dec=self.dec,
            pixel_scale=self.pixel_scale,
            rotation=self.rotation,
            distortion=self.distortion,
            fwhm=self.fwhm,
            beta=self.beta,
            ellipticity=self.ellipticity,
            ellipticity_angle=self.ellipticity_angle,
            fwhm_variation=self.fwhm_variation,
            band=self.band,
            exposure_time=self.exposure_time,
            zero_point=self.zero_point + 2.5 * float(np.log10(self.exposure_time)),
            colour_term=self.colour_term,
            gain=self.gain,
            read_noise=self.read_noise,
            sky_level=self.sky_level,
            sky_gradient=self.sky_gradient,
            saturation=self.saturation,
            cosmic_rays=self.cosmic_rays,
            dead_columns=self.dead_columns,
            hot_columns=self.hot_columns,
        )

    def template(self) -> Exposure:
        """An average of many good exposures: cleaned, and resampled to a plain TAN grid."""
        height, width = self.shape
        east, north = self.template_offset
        return Exposure(
            width=int(np.ceil(width * TEMPLATE_MARGIN)),
            height=int(np.ceil(height * TEMPLATE_MARGIN)),
            ra=self.ra + east / 3600 / float(np.cos(np.radians(self.dec))),
            dec=self.dec + north / 3600,
            pixel_scale=self.pixel_scale,
            rotation=self.template_rotation,
            distortion=0.0,
            fwhm=self.template_fwhm,
            beta=self.beta,
            ellipticity=0.0,
            ellipticity_angle=0.0,
            fwhm_variation=0.0,
            band=self.band,
            exposure_time=self.exposure_time,
            zero_point=self.zero_point + 2.5 * float(np.log10(self.exposure_time)),
            colour_term=self.colour_term,
            gain=self.gain * self.template_depth,
            read_noise=self.read_noise * float(np.sqrt(self.template_depth)),
            sky_level=self.template_sky_level,
            sky_gradient=0.0,
            saturation=self.saturation,
            cosmic_rays=0,
            dead_columns=0,
            hot_columns=0,
        )
