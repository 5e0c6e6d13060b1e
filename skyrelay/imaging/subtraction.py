"""What is new in an image, compared with a template of the same pixels?

Every engine makes of a tile the same planes; the noise of the difference counts the noise of both
images and what the match leaves at bright stars.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.stats import mad_std
from astropy.table import Table
from scipy.ndimage import gaussian_filter
from stdpipe.subtraction import run_hotpants

from skyrelay.imaging.apertures import disc
from skyrelay.imaging.arrays import Mask, Plane
from skyrelay.imaging.kernel import Match, NoKernel, Orders, choose_objects, match_template
from skyrelay.imaging.point_spread import good_stars, measure_point_spread, with_wings
from skyrelay.imaging.program_output import told_to
from skyrelay.imaging.residuals import residual_variance
from skyrelay.imaging.zogy import proper_difference

#: Smoothing (in FWHM) of the light whose Poisson noise is wanted: noise must not judge itself.
_SMOOTHING = 0.4
#: Half side, in FWHM, of the profiles of a proper subtraction.
PROPER_REACH = 5.0
#: A template that leaves more than this part of the usual star's light shows other stars: even the
#: worst kernel of the right template takes most of it away.
_MOST_LEFT = 0.5
#: Fewer objects than this do not say whether template and image match.
_LEAST_JUDGED = 3


class TileFailed(Exception):
    """One tile cannot be subtracted; the message says why."""


@dataclass(frozen=True)
class Pair:
    """An image (or a tile of it) and a template on the same pixels.

    Skies are subtracted; all pixels are finite, those of the template are zero where it is
    masked. ``noise`` and ``template_noise`` are the noise
    of the skies (one sigma per pixel), gains are in e- per flux unit.
    """

    image: Plane
    template: Plane
    mask: Mask
    template_mask: Mask
    noise: Plane
    template_noise: Plane
    gain: float
    template_gain: float
    fwhm: float
    template_fwhm: float

    def part(self, window: tuple[slice, slice]) -> Pair:
        """The same for a window of the pixels."""
        planes = {
            name: getattr(self, name)[window].copy()
            for name in ("image", "template", "mask", "template_mask", "noise", "template_noise")
        }
        return Pair(
            **planes,
            gain=self.gain,
            template_gain=self.template_gain,
            fwhm=self.fwhm,
            template_fwhm=self.template_fwhm,
        )

    @property
    def poisson_variance(self) -> Plane:
        """Variance of the image's own light, without the sky's."""
        return _poisson(self.image, self.gain, self.fwhm)

    @property
    def template_variance(self) -> Plane:
        """Variance of the template, with its sky's."""
        poisson = _poisson(self.template, self.template_gain, self.template_fwhm)
        return np.asarray(self.template_noise**2 + poisson)


@dataclass(frozen=True)
class Difference:
    """What a subtraction makes of a tile.

    Attributes
    ----------
    convolved : ndarray
        The template, made to look like the image.
    difference : ndarray
        Image minus that, in ADU of the image.
    noise : ndarray
        Noise of the difference (one sigma per pixel).
    mask : ndarray of bool
        Where the difference means nothing.
    profile : ndarray or None
        A point source in the difference, of sum 1; None where it is that of the image.
    """

    convolved: Plane
    difference: Plane
    noise: Plane
    mask: Mask
    profile: Plane | None = None

    @property
    def scaled(self) -> Plane:
        """The difference in units of its noise; zero where masked."""
        return np.where(self.mask, 0.0, self.difference / np.where(self.mask, 1.0, self.noise))


@dataclass(frozen=True)
class Sfft:
    """Subtraction with stdpipe's SFFT: the kernel is free in every pixel."""

    orders: Orders = field(default_factory=Orders)
    name: str = "sfft"

    def __call__(self, pair: Pair, objects: Table, log: Callable[..., object]) -> Difference:
        """Subtract a tile.

        Raises
        ------
        TileFailed
            If there is no kernel.
        """
        try:
            match = match_template(
                pair.image,
                pair.template,
                pair.mask,
                pair.template_mask,
                np.sqrt(pair.noise**2 + pair.poisson_variance),
                pair.template_variance,
                objects,
                pair.fwhm,
                self.orders,
                log,
            )
        except NoKernel as error:
            raise TileFailed(str(error)) from error
        log(f"Kernel from {match.objects} objects, its sum is {match.flux_scale:.4g}")
        if not match.flux_scale > 0:
            raise TileFailed(
                f"the kernel's sum is {match.flux_scale:.3g}: template and image do not match"
            )
        return _finish(pair, match, objects)


@dataclass(frozen=True)
class Hotpants:
    """Subtraction with the HOTPANTS program."""

    executable: Path
    options: dict[str, Any]
    temporary: Path
    verbose: bool = False
    name: str = "hotpants"

    def __call__(self, pair: Pair, objects: Table, log: Callable[..., object]) -> Difference:
        """Subtract a tile.

        Raises
        ------
        TileFailed
            If HOTPANTS does not make a difference image.
        """
        with told_to(log, self.temporary) if self.verbose else nullcontext():
            planes = run_hotpants(
                pair.image,
                pair.template,
                mask=pair.mask,
                template_mask=pair.template_mask,
                err=np.sqrt(pair.noise**2 + pair.poisson_variance),
                template_err=np.sqrt(pair.template_variance),
                image_gain=pair.gain,
                template_gain=pair.template_gain,
                image_fwhm=pair.fwhm,
                template_fwhm=pair.template_fwhm,
                extra=self.options,
                obj=objects[np.asarray(objects["flags"]) == 0],
                get_convolved=True,
                get_scaled=True,
                get_noise=True,
                _tmpdir=str(self.temporary),
                _exe=str(self.executable),
                verbose=log if self.verbose else False,
            )
        if planes is None:
            raise TileFailed("HOTPANTS made no difference image")
        difference, convolved, _, noise = (np.asarray(plane, dtype=np.float64) for plane in planes)
        missing = ~np.isfinite(difference) | ~np.isfinite(noise) | (noise <= 1e-20)
        mask = pair.mask | pair.template_mask | missing
        variance = np.where(missing, 1.0, noise) ** 2
        variance += residual_variance(
            difference, convolved, np.sqrt(variance), mask, objects, pair.fwhm
        )
        return Difference(convolved, np.where(mask, 0, difference), np.sqrt(variance), mask)


@dataclass(frozen=True)
class Zogy:
    """Proper subtraction: no kernel, but the point spreads of both images."""

    name: str = "zogy"

    def __call__(self, pair: Pair, objects: Table, log: Callable[..., object]) -> Difference:
        """Subtract a tile.

        Raises
        ------
        TileFailed
            If the images have no star in common.
        """
        mask = pair.mask | pair.template_mask
        stars = choose_objects(good_stars(objects, pair.fwhm), mask, pair.fwhm)
        try:
            proper = proper_difference(
                (pair.image, pair.template),
                (pair.noise**2 + pair.poisson_variance, pair.template_variance),
                (
                    _whole_profile(pair.image, stars, pair.fwhm, log),
                    _whole_profile(pair.template, stars, pair.template_fwhm, log),
                ),
                mask,
                objects,
                pair.fwhm,
            )
        except NoKernel as error:
            raise TileFailed(str(error)) from error
        log(f"Scale from {proper.objects} objects, it is {proper.flux_scale:.4g}")
        variance = proper.variance + residual_variance(
            proper.difference,
            proper.convolved,
            np.sqrt(proper.variance),
            mask,
            objects,
            pair.fwhm,
            proper.profile,
        )
        mask = mask | proper.unreliable | _border(mask.shape, int(np.ceil(pair.fwhm)))
        return Difference(
            proper.convolved,
            np.where(mask, 0.0, proper.difference),
            np.sqrt(variance),
            mask,
            proper.profile,
        )


Engine = Sfft | Hotpants | Zogy


def _whole_profile(image: Plane, stars: Table, fwhm: float, log: Callable[..., object]) -> Plane:
    return with_wings(measure_point_spread(image, stars, fwhm, log), fwhm, PROPER_REACH)


def _border(shape: tuple[int, ...], width: int) -> Mask:
    """Pixels to which light from beyond the edge belongs, that the images do not show."""
    border = np.ones(shape, dtype=bool)
    border[width:-width, width:-width] = False
    return border


def _poisson(light: Plane, gain: float, fwhm: float) -> Plane:
    return np.asarray(np.clip(gaussian_filter(light, _SMOOTHING * fwhm), 0, None) / gain)


def _finish(pair: Pair, match: Match, objects: Table) -> Difference:
    mask = pair.mask | pair.template_mask | match.unreliable
    difference = pair.image - match.convolved - match.background
    variance = pair.noise**2 + pair.poisson_variance + match.variance
    variance = variance + residual_variance(
        difference, match.convolved, np.sqrt(variance), mask, objects, pair.fwhm
    )
    noise = np.sqrt(variance)
    return Difference(match.convolved, np.where(mask, 0.0, difference), noise, mask)


def check_match(pair: Pair, difference: Difference, objects: Table) -> None:
    """See whether the stars of the image are gone from the difference.

    Raises
    ------
    TileFailed
        If most of their light is still there.
    """
    left = []
    for row in choose_objects(objects, difference.mask, pair.fwhm):
        window, inside = disc(row, pair.image.shape, pair.fwhm)
        inside &= ~difference.mask[window]
        light = pair.image[window][inside].sum()
        if light > 0:
            left.append(abs(difference.difference[window][inside].sum()) / light)
    if len(left) >= _LEAST_JUDGED and np.median(left) > _MOST_LEFT:
        raise TileFailed(
            f"template and image do not match, {100 * np.median(left):.0f} % of the stars' light "
            "is left"
        )


def noise_ratio(scaled: Plane, mask: Mask) -> float:
    """Scatter of the difference in units of its noise: 1 if the noise is understood."""
    values = scaled[~mask]
    return float(mad_std(values)) if values.size else float("nan")
