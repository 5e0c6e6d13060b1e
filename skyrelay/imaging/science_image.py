"""What does a search for transients start from, after inspection and photometry?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from astropy.wcs import WCS
from scipy.ndimage import maximum_filter

from skyrelay import products
from skyrelay.errors import Permanent
from skyrelay.imaging.arrays import Mask, Pixels, Plane
from skyrelay.imaging.fits import read_image
from skyrelay.imaging.mask import SATURATED, read_mask
from skyrelay.imaging.times import parsed_time
from skyrelay.imaging.wcs import load_wcs, pixel_scale, with_wcs
from skyrelay.imaging.zero_point import ZeroPoint
from skyrelay.stage.context import StageContext

#: FWHM around saturated pixels in which nothing is searched.
_SPOILED = 2.0

_UNSOLVED = "The image has no astrometric solution: run the photometry with blind_match_wcs first."


@dataclass(frozen=True)
class ScienceImage:
    """The image of a task with all that is known of it.

    Attributes
    ----------
    image : ndarray
        Pixels in ADU; what is not finite is masked.
    mask : ndarray of bool
        True where pixels are not to be used.
    header : Header
        Header of the image, with the refined astrometric solution.
    wcs : WCS or None
        That solution; None where there is none and pixels suffice.
    objects : Table
        Measured objects; columns of stdpipe with ``mag_calib`` and ``mag_calib_err``.
    gain : float
        e-/ADU.
    fwhm : float
        FWHM of the stars in pixels.
    time : Time or None
        Time of the observation, if known.
    """

    image: Plane
    mask: Mask
    header: fits.Header
    wcs: WCS | None
    objects: Table
    gain: float
    fwhm: float
    time: Time | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.image.shape
        return rows, columns

    @property
    def solved(self) -> WCS:
        """The astrometric solution, for what cannot do without one.

        Raises
        ------
        Permanent
            If there is none.
        """
        if self.wcs is None:
            raise Permanent(_UNSOLVED)
        return self.wcs

    @property
    def pixel_scale(self) -> float:
        """Degrees per pixel."""
        return pixel_scale(self.solved)

    def positions(self, x: Plane, y: Plane) -> tuple[Plane, Plane]:
        """Right ascension and declination (degrees) of pixels; NaN without a solution."""
        if self.wcs is None:
            return np.full(np.shape(x), np.nan), np.full(np.shape(y), np.nan)
        ra, dec = self.wcs.all_pix2world(x, y, 0)
        return ra, dec

    @cached_property
    def zero_point(self) -> ZeroPoint:
        """The photometric solution."""
        return ZeroPoint.of(self.objects)


def load(context: StageContext, *, pixels_suffice: bool = False) -> ScienceImage:
    """Read what inspection and photometry have left in the task's folder.

    Parameters
    ----------
    pixels_suffice : bool
        Whether an image without an astrometric solution is of use.

    Raises
    ------
    Permanent
        If one of them has not been done, or the image has no astrometric solution.
    """
    given = read_image(context.path(products.IMAGE))
    rows, columns = given.data.shape
    bits = read_mask(context.folder, (rows, columns))
    if not context.path(products.OBJECTS).exists():
        raise Permanent("The image has not been measured yet: run the photometry first.")
    wcs = load_wcs(context.folder, given.header, (rows, columns))
    if wcs is None and not pixels_suffice:
        raise Permanent(_UNSOLVED)
    image = np.asarray(given.data, dtype=np.float64)
    objects = Table.read(context.path(products.OBJECTS))
    time = context.parameter("time")
    fwhm = float(context.config.get("fwhm") or _median_fwhm(objects))
    mask = (bits != 0) | _spoiled(bits, fwhm)
    return ScienceImage(
        image=image,
        mask=mask | ~np.isfinite(image),
        header=with_wcs(given.header, wcs),
        wcs=wcs,
        objects=objects,
        gain=float(context.parameter("gain") or 1.0),
        fwhm=fwhm,
        time=parsed_time(str(time)) if time else None,
    )


def _spoiled(bits: Pixels, fwhm: float) -> Mask:
    """What lies near saturated pixels: the wings of such a star are brighter than any model."""
    reach = 2 * int(np.ceil(_SPOILED * fwhm)) + 1
    saturated = ((bits & SATURATED) != 0).astype(np.uint8)
    return np.asarray(maximum_filter(saturated, reach), dtype=bool)


def _median_fwhm(objects: Table) -> float:
    good = (objects["flags"] == 0) & (objects["magerr"] < 0.05)
    values = objects["fwhm"][good if np.any(good) else slice(None)]
    return float(np.nanmedian(values)) if len(values) else 3.0
