"""How bright are objects that overlap, if each has the profile of a point source?

PSFEx models the profile, SEP fits it to all objects of a group at once.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from stdpipe import psf
from stdpipe.photometry_measure import measure_objects_sep

from skyrelay.errors import Permanent
from skyrelay.imaging.apertures import Apertures, Exposure
from skyrelay.imaging.arrays import Log
from skyrelay.settings import Settings

#: Pixels within so many FWHM of an object are fitted: farther out is more of its neighbours.
_FIT_RADIUS = 1.5
#: Iterations of the fit of a group.
_ITERATIONS = 30
#: Changes of the magnitude per relative change of the flux.
_MAGNITUDE = 2.5 / np.log(10)


@dataclass(frozen=True)
class Programs:
    """Where PSFEx and SExtractor are, and where they may write."""

    psfex: str | None
    sextractor: str | None
    temporary: Path

    @classmethod
    def of(cls, settings: Settings, temporary: Path) -> Programs:
        """Those of this installation."""
        return cls(settings.stdpipe_psfex, settings.stdpipe_sextractor, temporary)


def fit_profiles(
    objects: Table,
    exposure: Exposure,
    apertures: Apertures,
    programs: Programs,
    *,
    log: Log,
) -> Table:
    """The objects with ``flux``, ``fluxerr``, ``mag`` and ``magerr`` of a fit of their profile.

    Fluxes are those that the aperture would hold of a lonely star, so that they go with the zero
    point of the aperture. Errors grow with what the profiles leave unexplained around the object.
    An object that cannot be fitted keeps what the aperture gave.

    Raises
    ------
    Permanent
        If the image has no stars of which a profile can be made.
    """
    profile = _profile(exposure, programs, log)
    fitted = _fit(objects, exposure, apertures, profile, log)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        enclosed = float(psf.enclosed_psf_fraction(profile, radius=apertures.radius))
        excess = np.sqrt(np.maximum(np.asarray(fitted["chi2_psf"], float), 1))
    log(f"The aperture holds {enclosed:.3f} of the profile of a star")
    flux = enclosed * np.asarray(fitted["flux"], float)
    error = enclosed * excess * np.asarray(fitted["fluxerr"], float)
    good = np.isfinite(flux) & np.isfinite(error) & (flux > 0) & (error > 0)
    log(f"The profile was fitted to {np.count_nonzero(good)} of {len(objects)} objects")
    return _with_fluxes(objects, flux, error, good)


def _profile(exposure: Exposure, programs: Programs, log: Log) -> Any:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        profile = psf.run_psfex(
            np.asarray(exposure.data, float),
            mask=exposure.mask,
            gain=exposure.gain,
            order=0,
            _exe=programs.psfex,
            _sex_exe=programs.sextractor,
            _tmpdir=str(programs.temporary),
            verbose=log,
        )
    if profile is None or not np.isfinite(profile["data"]).all() or not profile["data"].any():
        raise Permanent(
            "PSFEx made no profile of a star from this image: set photometry_method to aperture."
        )
    return profile


def _fit(
    objects: Table,
    exposure: Exposure,
    apertures: Apertures,
    profile: Any,
    log: Log,
) -> Table:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return measure_objects_sep(
            objects,
            exposure.data,
            fwhm=apertures.fwhm,
            psf=profile,
            fit_radius=_FIT_RADIUS * apertures.fwhm,
            maxiter=_ITERATIONS,
            mask=exposure.mask,
            gain=exposure.gain,
            bg_size=exposure.bg_size,
            verbose=log,
        )


def _with_fluxes(objects: Table, flux: Any, error: Any, good: Any) -> Table:
    objects = objects.copy()
    values = {
        "flux": flux[good],
        "fluxerr": error[good],
        "mag": -2.5 * np.log10(flux[good]),
        "magerr": _MAGNITUDE * error[good] / flux[good],
    }
    for name, measured in values.items():
        objects[name][good] = measured
    return objects
