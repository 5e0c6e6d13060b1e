"""What is true of an observation, and what should a measurement of it give?

The zero point is defined as stdpipe's `calibrate_photometry` does it:

    catalogue magnitude = -2.5 log10(ADU of the whole exposure) + zero point + C * colour

`zero_point` is that of the total flux. An aperture misses the wings of the PSF, so that its
zero point is smaller: `zero_point_at` gives it for any radius.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from skyrelay.errors import Permanent
from skyrelay.synthetic.psf import Moffat

TRUTH = "truth.json"
TABLES = ("stars", "galaxies", "transients", "cosmic_rays", "bad_columns")


@dataclass(frozen=True)
class ImageTruth:
    """What is true of one image. Pixels are 0-based; ADU are those of the whole exposure."""

    width: int
    height: int
    band: str
    colour: str  # that of the colour term, such as "g-r"
    zero_point: float  # of the total flux, mag
    colour_term: float
    psf_fwhm: float  # pixels, of the Moffat profile that falls on the detector
    psf_beta: float
    psf_ellipticity: float
    psf_angle: float  # degrees
    fwhm: float  # pixels, as seen in the image, where the pixels widen it a little
    fwhm_arcsec: float
    pixel_scale: float  # arcsec
    sky_level: float  # ADU per pixel
    sky_rms: float  # ADU per pixel
    gain: float  # electrons per ADU
    read_noise: float  # electrons
    saturation: float  # ADU
    exposure_time: float  # seconds
    wcs: dict[str, Any]  # header cards

    @property
    def psf(self) -> Moffat:
        """The mean PSF of the image."""
        return Moffat(self.psf_fwhm, self.psf_beta, self.psf_ellipticity, self.psf_angle)

    def zero_point_at(self, radius: float | None = None) -> float:
        """Zero point of a circular aperture of `radius` pixels; of the total flux if None."""
        if radius is None:
            return self.zero_point
        return self.zero_point + 2.5 * float(np.log10(self.psf.enclosed(radius)))

    def limiting_magnitude(self, radius: float, sn: float = 5.0) -> float:
        """Magnitude of a point source of colour zero on empty sky with that S/N in an aperture."""
        noise = np.pi * radius**2 * (self.sky_rms * self.gain) ** 2
        electrons = sn**2 / 2 + np.sqrt(sn**4 / 4 + sn**2 * noise)
        return self.zero_point_at(radius) - 2.5 * float(np.log10(electrons / self.gain))

    def celestial(self) -> WCS:
        """The true WCS."""
        return WCS(fits.Header(self.wcs))


@dataclass(frozen=True)
class Truth:
    """All that is true of an observation.

    stars and galaxies are those on the science image: id, ra, dec (degrees), x, y (pixels),
    flux (ADU), g, r, i, z (mag), for stars also saturated. See `transients.draw_transients`,
    `detector.expose` and `detector.draw_bad_columns` for the other tables.
    """

    seed: int
    science: ImageTruth
    template: ImageTruth
    initial_wcs: dict[str, Any]
    spec: dict[str, Any]
    stars: Table
    galaxies: Table
    transients: Table
    cosmic_rays: Table
    bad_columns: Table

    def write(self, folder: str | Path) -> dict[str, Path]:
        """Write truth.json and one VOTable per table; returns their paths."""
        folder = Path(folder)
        facts = {
            "seed": self.seed,
            "science": asdict(self.science),
            "template": asdict(self.template),
            "initial_wcs": self.initial_wcs,
            "spec": self.spec,
        }
        paths = {"truth": folder / TRUTH}
        paths["truth"].write_text(json.dumps(facts, indent=2) + "\n")
        for name in TABLES:
            paths[name] = _table_path(folder, name)
            table: Table = getattr(self, name)
            table.write(paths[name], format="votable", tabledata_format="binary2", overwrite=True)
        return paths

    @classmethod
    def read(cls, folder: str | Path) -> Truth:
        """Read what `write` wrote. Raises `Permanent` if there is no truth in the folder."""
        folder = Path(folder)
        if not (folder / TRUTH).is_file():
            raise Permanent(f"There is no {TRUTH} in {folder}: it holds no synthetic observation.")
        facts = json.loads((folder / TRUTH).read_text())
        for image in ("science", "template"):
            facts[image] = ImageTruth(**facts[image])
        tables = {name: _read_table(_table_path(folder, name)) for name in TABLES}
        known = {field.name for field in fields(cls)}
        return cls(**{k: v for k, v in facts.items() if k in known}, **tables)


def _table_path(folder: Path, name: str) -> Path:
    return folder / f"truth_{name}.vot"


def _read_table(path: Path) -> Table:
    return Table.read(path, format="votable")
