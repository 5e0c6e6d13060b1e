"""Where on the sky is each pixel, and where does the header say it is?

The true WCS is TAN-SIP (Shupe et al. 2005, ASPC 347, 491): rotated, with a radial distortion
of third order and a little decentring. The header's is a linear TAN that is slightly wrong in
pointing, rotation and scale, as after a slew.
"""

from __future__ import annotations

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from skyrelay.synthetic.spec import Exposure, FieldSpec

#: Part of the distortion at the corner that is of second order, from a decentred corrector.
DECENTRING = 0.15


def true_header(exposure: Exposure) -> fits.Header:
    """The exact WCS of an exposure, as header cards."""
    header = _linear(exposure, exposure.ra, exposure.dec, exposure.pixel_scale, exposure.rotation)
    if exposure.distortion:
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
        corner = np.hypot(exposure.width, exposure.height) / 2
        cubic = exposure.distortion / corner**3
        square = DECENTRING * exposure.distortion / corner**2
        header["A_ORDER"], header["B_ORDER"] = 3, 3
        header["A_3_0"] = header["A_1_2"] = header["B_0_3"] = header["B_2_1"] = cubic
        header["A_2_0"], header["B_0_2"] = square, -square
    return header


def initial_header(spec: FieldSpec) -> fits.Header:
    """The WCS that the telescope writes: linear, and wrong by what the spec says."""
    rng = spec.rng("pointing")
    direction = rng.uniform(0, 2 * np.pi)
    rotation, scale = rng.choice([-1, 1], 2) * (spec.rotation_error, spec.scale_error)
    east = spec.pointing_error * np.sin(direction) / 3600 / np.cos(np.radians(spec.dec))
    north = spec.pointing_error * np.cos(direction) / 3600
    return _linear(
        spec.science(),
        spec.ra + east,
        spec.dec + north,
        spec.pixel_scale * (1 + scale),
        spec.rotation + rotation,
    )


def true_wcs(exposure: Exposure) -> WCS:
    """The exact WCS of an exposure."""
    return WCS(true_header(exposure))


def to_pixels(
    wcs: WCS, ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """0-based pixel positions of sky positions (degrees), exact to 1e-6 pixels."""
    if len(ra) == 0:
        return np.zeros(0), np.zeros(0)
    x, y = wcs.all_world2pix(np.asarray(ra), np.asarray(dec), 0, tolerance=1e-6, maxiter=50)
    return x, y


def _linear(
    exposure: Exposure, ra: float, dec: float, pixel_scale: float, rotation: float
) -> fits.Header:
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
    header["CRVAL1"], header["CRVAL2"] = float(ra), float(dec)
    header["CRPIX1"], header["CRPIX2"] = (exposure.width + 1) / 2, (exposure.height + 1) / 2
    cos, sin = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    scale = pixel_scale / 3600
    header["CD1_1"], header["CD1_2"] = float(-scale * cos), float(scale * sin)
    header["CD2_1"], header["CD2_2"] = float(scale * sin), float(scale * cos)
    header["RADESYS"] = "ICRS"
    return header
