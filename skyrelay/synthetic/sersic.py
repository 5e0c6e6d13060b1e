"""What does a galaxy look like on the pixels, after the seeing?

A Sersic profile with elliptical isophotes, I(r) = exp(-b_n (r / r_e) ** (1/n)), truncated as
SDSS does it (exponential at 4 r_e, de Vaucouleurs at 8 r_e) and normalised to the flux inside,
on a grid finer than the pixels, convolved with the PSF by FFT, and summed to pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fftfreq, irfft2, next_fast_len, rfft2, rfftfreq
from scipy.special import gammaincinv

from skyrelay.synthetic.psf import Moffat, Pixels

#: Fine pixels per pixel, a side.
OVERSAMPLING = 3
#: Points per fine pixel, a side, in the middle, where the profile is steep.
CUSP_SAMPLING = 8
#: Half the side of that middle, in fine pixels.
CUSP = 2
#: The seeing spreads a galaxy by at most this many FWHM.
SEEING_REACH = 3.5
#: Stamp sizes come in steps, so that few transforms of the PSF serve all galaxies.
STEP = 8


@dataclass(frozen=True)
class Sersic:
    """The shape of a galaxy of unit flux: `half_light` in pixels, `angle` from +x to +y."""

    index: float
    half_light: float
    axis_ratio: float
    angle: float

    def __call__(self, dx: Pixels, dy: Pixels) -> Pixels:
        """Relative surface brightness at offsets (pixels) from the centre."""
        cos, sin = np.cos(np.radians(self.angle)), np.sin(np.radians(self.angle))
        along, across = dx * cos + dy * sin, (dy * cos - dx * sin) / self.axis_ratio
        radius = np.hypot(along, across) / self.half_light
        exponent = -float(gammaincinv(2 * self.index, 0.5)) * radius ** (1 / self.index)
        return np.where(radius < self.truncation, np.exp(exponent), 0.0)

    @property
    def truncation(self) -> float:
        """Radius beyond which there is nothing, in half-light radii."""
        return 8.0 if self.index > 2 else 4.0

    def stamp(self, x0: float, y0: float, psf: Moffat) -> tuple[Pixels, int, int]:
        """The galaxy at (x0, y0) as seen through `psf`.

        Returns the stamp and the column and row of its first pixel.
        """
        half_size = self.half_size(psf)
        column, row = round(x0), round(y0)
        profile = self._profile(half_size)
        fine_size = profile.shape[0]
        side = next_fast_len(fine_size, real=True)
        # The profile sits on the middle of the grid; the transform brings it to its place,
        # exactly, because the PSF is well sampled by the fine grid.
        kernel = _transform(psf, side) * _shift(x0 - column, y0 - row, side)
        seen = irfft2(rfft2(profile, (side, side)) * kernel, (side, side))
        seen = seen[:fine_size, :fine_size]
        size = 2 * half_size + 1
        pixels = seen.reshape(size, OVERSAMPLING, size, OVERSAMPLING).sum(axis=(1, 3))
        return pixels, column - half_size, row - half_size

    def half_size(self, psf: Moffat) -> int:
        """Half the side of the stamp, pixels."""
        reach = self.half_light * self.truncation + SEEING_REACH * psf.fwhm
        return int(np.ceil(reach / STEP)) * STEP

    def _profile(self, half_size: int) -> Pixels:
        fine = _fine_grid(half_size)
        profile: Pixels = np.zeros((fine.size, fine.size))
        # Beyond its truncation there is nothing to compute, and that is most of a small galaxy.
        extent = int(np.ceil(self.half_light * self.truncation * OVERSAMPLING)) + CUSP
        middle = fine.size // 2
        inner = slice(max(middle - extent, 0), middle + extent + 1)
        profile[inner, inner] = self(fine[None, inner], fine[inner, None])
        self._refine_cusp(profile, fine)
        profile /= profile.sum()
        return profile

    def _refine_cusp(self, profile: Pixels, fine: Pixels) -> None:
        core = slice(fine.size // 2 - CUSP, fine.size // 2 + CUSP + 1)
        offsets = ((np.arange(CUSP_SAMPLING) + 0.5) / CUSP_SAMPLING - 0.5) / OVERSAMPLING
        points = (fine[core, None] + offsets).ravel()
        side = 2 * CUSP + 1
        values = self(points[None, :], points[:, None]).reshape(
            side, CUSP_SAMPLING, side, CUSP_SAMPLING
        )
        profile[core, core] = values.mean(axis=(1, 3))


def _fine_grid(half_size: int) -> Pixels:
    count = (2 * half_size + 1) * OVERSAMPLING
    return (np.arange(count) - (count - 1) / 2) / OVERSAMPLING


def _shift(x: float, y: float, side: int) -> NDArray[np.complex128]:
    phase_x = -2j * np.pi * x * OVERSAMPLING * rfftfreq(side)
    phase_y = -2j * np.pi * y * OVERSAMPLING * fftfreq(side)
    shift: NDArray[np.complex128] = np.exp(phase_y)[:, None] * np.exp(phase_x)[None, :]
    return shift


@lru_cache(maxsize=64)
def _transform(psf: Moffat, side: int) -> NDArray[np.complex128]:
    # Circular: the stamp is wide enough that only the outermost wings come back at the other
    # side, where they keep the flux whole. On fine pixels the PSF is OVERSAMPLING times wider.
    offsets = fftfreq(side, 1 / side)
    wide = Moffat(psf.fwhm * OVERSAMPLING, psf.beta, psf.ellipticity, psf.angle)
    kernel = wide(offsets[None, :], offsets[:, None])
    return np.asarray(rfft2(kernel / kernel.sum()))
