"""What does a star look like on the pixels?

A Moffat profile (Moffat 1969, A&A 3, 455), integrated over each pixel, because at a FWHM of
2 to 4 pixels its value at the middle of a pixel is off by several per cent:

    I(r) = (beta - 1) / (pi alpha^2) * (1 + r^2 / alpha^2) ** -beta
    FWHM = 2 alpha sqrt(2 ** (1 / beta) - 1)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from skyrelay.synthetic.spec import Exposure

Pixels = NDArray[np.floating]

#: Inside this many FWHM each pixel is integrated, outside its middle is exact to 1e-4 of the flux.
CORE = 2.5

#: A stamp of this many FWHM around the star holds 99.98 % of a Moffat profile of beta 3.
REACH = 8.0


@dataclass(frozen=True)
class Moffat:
    """An elliptical Moffat profile of unit flux; `fwhm` in pixels, of the circle of equal area."""

    fwhm: float
    beta: float
    ellipticity: float = 0.0
    angle: float = 0.0  # degrees, of the long axis, from +x to +y

    @property
    def alpha(self) -> float:
        """Radius of the core, pixels."""
        return self.fwhm / (2 * float(np.sqrt(2 ** (1 / self.beta) - 1)))

    def __call__(self, dx: Pixels, dy: Pixels) -> Pixels:
        """Surface brightness at the offsets (pixels) from the centre, per pixel of area."""
        if self.ellipticity:
            cos, sin = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
            ratio = 1 - self.ellipticity
            radius2 = (dx * cos + dy * sin) ** 2 * ratio + (dy * cos - dx * sin) ** 2 / ratio
        else:
            radius2 = dx * dx + dy * dy
        peak = (self.beta - 1) / (np.pi * self.alpha**2)
        value: Pixels = peak * (1 + radius2 / self.alpha**2) ** -self.beta
        return value

    def integrated(self, x: Pixels, y: Pixels, order: int = 3) -> Pixels:
        """Flux in the unit pixels centred at offsets `x` (columns) and `y` (rows)."""
        nodes, weights = _legendre(order)
        dx = (x[:, None] + nodes / 2).ravel()
        dy = (y[:, None] + nodes / 2).ravel()
        values = self(dx[None, :], dy[:, None]).reshape(y.size, order, x.size, order)
        flux: Pixels = np.tensordot(values @ weights, weights, axes=(1, 0)) / 4
        return flux

    def stamp(self, x0: float, y0: float, half_size: int) -> tuple[Pixels, int, int]:
        """A star of unit flux at (x0, y0).

        Returns the stamp, (2 half_size + 1) pixels a side, and the column and row of its
        first pixel. The stamp is not renormalised: what lies beyond it is missing from it.
        """
        column, row = round(x0), round(y0)
        grid = np.arange(-half_size, half_size + 1)
        x, y = column + grid - x0, row + grid - y0
        values = self(x[None, :], y[:, None])
        core = slice(
            max(0, half_size - int(np.ceil(CORE * self.fwhm))),
            half_size + int(np.ceil(CORE * self.fwhm)) + 1,
        )
        values[core, core] = self.integrated(x[core], y[core])
        return values, column - half_size, row - half_size

    def half_size(self, flux: float = 0.0, invisible: float = 1.0) -> int:
        """Half the side of a stamp beyond which a star gives less than `invisible` per pixel."""
        peak = (self.beta - 1) / (np.pi * self.alpha**2)
        ratio = max(flux * peak / invisible, 1.0)
        reach = self.alpha * float(np.sqrt(ratio ** (1 / self.beta) - 1))
        return int(np.ceil(max(reach, REACH * self.fwhm)))

    def noise_area(self) -> float:
        """Pixels whose sky noise a PSF-weighted flux carries: 1 / sum(psf^2)."""
        return float(1 / np.sum(self.stamp(0.0, 0.0, self.half_size())[0] ** 2))

    def measured_fwhm(self) -> float:
        """FWHM of the profile on the pixels, which is what an image shows, in pixels."""
        circular = Moffat(self.fwhm, self.beta)
        peak = float(circular.integrated(np.zeros(1), np.zeros(1), 7)[0, 0])

        def excess(radius: float) -> float:
            return float(circular.integrated(np.array([radius]), np.zeros(1), 7)[0, 0]) - peak / 2

        return 2 * float(brentq(excess, self.fwhm / 4, 2 * self.fwhm + 2))

    def enclosed(self, radius: float) -> float:
        """Part of the flux inside a circular aperture of `radius` pixels on the pixelated image."""
        return _enclosed(self, float(radius))


@lru_cache
def _legendre(order: int) -> tuple[Pixels, Pixels]:
    return np.polynomial.legendre.leggauss(order)


@lru_cache(maxsize=256)
def _enclosed(psf: Moffat, radius: float) -> float:
    from photutils.aperture import CircularAperture

    half_size = int(np.ceil(max(radius + 3, 3 * psf.fwhm)))
    fluxes = []
    # Where in its pixel a star falls matters at the edge of a small aperture: take the mean.
    for dx in (-0.375, -0.125, 0.125, 0.375):
        for dy in (-0.375, -0.125, 0.125, 0.375):
            stamp, column, row = psf.stamp(dx, dy, half_size)
            aperture = CircularAperture((dx - column, dy - row), radius)
            fluxes.append(aperture.do_photometry(stamp, method="exact")[0][0])
    return float(np.mean(fluxes))


@dataclass(frozen=True)
class PsfField:
    """The PSF all over an image: wider towards the corners by `variation`, `fwhm` on average."""

    mean: Moffat
    variation: float
    width: int
    height: int

    @classmethod
    def of(cls, exposure: Exposure) -> PsfField:
        """The PSF of an exposure."""
        mean = Moffat(
            exposure.fwhm, exposure.beta, exposure.ellipticity, exposure.ellipticity_angle
        )
        return cls(mean, exposure.fwhm_variation, exposure.width, exposure.height)

    def at(self, x: float, y: float) -> Moffat:
        """The PSF at the pixel (x, y)."""
        if not self.variation:
            return self.mean
        dx, dy = x - (self.width - 1) / 2, y - (self.height - 1) / 2
        radius2 = 4 * (dx**2 + dy**2) / (self.width**2 + self.height**2)
        # The mean of radius2 over a rectangle is 1/3, so the mean FWHM stays what it was.
        fwhm = self.mean.fwhm * (1 + self.variation * (radius2 - 1 / 3))
        return Moffat(fwhm, self.mean.beta, self.mean.ellipticity, self.mean.angle)
