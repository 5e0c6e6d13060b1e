"""What is in the sky of the tests, and what do surveys see of it?"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from zlib import crc32

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from skyrelay.synthetic import FieldSpec
from skyrelay.synthetic.catalogue import observe_catalogue
from skyrelay.synthetic.galaxies import make_galaxies
from skyrelay.synthetic.population import make_stars
from skyrelay.synthetic.render import locate, render_galaxies, render_stars
from skyrelay.synthetic.spec import BANDS
from tests.sky.messages import Answer

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Body:
    """A body of the Solar system: its place (degrees) at a time (JD), and how it moves."""

    name: str
    ra: float
    dec: float
    epoch: float
    rate_ra: float = 0.0  # arcsec per hour on the sky, eastwards
    rate_dec: float = 0.0
    magnitude: float = 18.0

    def at(self, epoch: float) -> tuple[float, float]:
        """Its place at another time."""
        degrees = (epoch - self.epoch) * 24 / 3600
        east = self.rate_ra * degrees / np.cos(np.radians(self.dec))
        return self.ra + float(east), self.dec + self.rate_dec * degrees


@dataclass(frozen=True, eq=False)
class Heavens:
    """The sky of a synthetic field, with what moves in it and what has a name.

    Attributes
    ----------
    names : dict of str to (ra, dec)
        Positions of named objects, in degrees, by the name in lower case without blanks.
    transients : dict of str to (ra, dec)
        Those that only the Transient Name Server knows.
    drawn : dict of str to Answer
        Images that were asked for before.
    """

    spec: FieldSpec
    bodies: tuple[Body, ...] = ()
    names: dict[str, tuple[float, float]] = field(default_factory=dict)
    transients: dict[str, tuple[float, float]] = field(default_factory=dict)
    drawn: dict[str, Answer] = field(default_factory=dict)

    @cached_property
    def stars(self) -> Table:
        """All stars of the field."""
        return make_stars(self.spec)

    @cached_property
    def galaxies(self) -> Table:
        """All galaxies of the field."""
        return make_galaxies(self.spec)

    @cached_property
    def catalogue(self) -> Table:
        """What a survey's catalogue says of it."""
        return observe_catalogue(self.spec, self.stars, self.galaxies)

    def picture(self, wcs: WCS, shape: tuple[int, int], band: str, fwhm: float) -> Values:
        """A deep image without its sky, in ADU of the field's template, of ``fwhm`` arcsec."""
        rows, columns = shape
        scale = 3600 * float(np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix))))
        deep = self.spec.template()
        exposure = replace(
            deep, width=columns, height=rows, pixel_scale=scale,
            # What the synthetic sky does not know looks as in the field's own filter.
            band=band if band in BANDS else self.spec.band,
            fwhm=max(fwhm / scale, 1.2),
        )  # fmt: skip
        scene = render_stars(locate(self.stars, exposure, wcs), exposure)
        scene += render_galaxies(locate(self.galaxies, exposure, wcs), exposure, wcs)
        sky = deep.sky_rms * scale / deep.pixel_scale
        noise = np.sqrt(sky**2 + scene / deep.gain)
        seed = crc32(repr((wcs.wcs.crval.tolist(), shape, band)).encode())
        picture: Values = scene + np.random.default_rng(seed).normal(0, 1, shape) * noise
        return picture


def square(ra: float, dec: float, side: int, pixel_scale: float) -> WCS:
    """A square of pixels (arcsec) around a position, north up."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], [(side + 1) / 2] * 2
    wcs.wcs.cdelt = [-pixel_scale / 3600, pixel_scale / 3600]
    wcs.wcs.set()
    return wcs
