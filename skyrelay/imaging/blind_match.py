"""Where on the sky is an image of which only the positions of its stars are known?

Astrometry.Net's solve-field is called without a shell and once: a field that is not in the index
files is looked for until the time is up, and not for a second time.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from skyrelay.errors import Permanent
from skyrelay.imaging.arrays import Log
from skyrelay.imaging.wcs import wcs_of
from skyrelay.settings import Settings
from skyrelay.sky.columns import floats

#: Objects handed to solve-field, the brightest; more only cost time.
MOST_OBJECTS = 500
#: Fewer objects than a quad and one star to confirm it are not worth a search.
LEAST_OBJECTS = 5
#: Order of the distortion: higher ones are left to the refinement with the catalogue.
_ORDER = 2
_INDEX_FILES = "index-*.fits"


@dataclass(frozen=True)
class BlindSearch:
    """Where and on which scale to look for the field of an image.

    Attributes
    ----------
    scale_lower, scale_upper : float
        Pixel scales in arcsec.
    center : tuple of float or None
        Position in degrees; None for the whole sky.
    radius : float
        How far from that centre, in degrees.
    """

    scale_lower: float
    scale_upper: float
    center: tuple[float, float] | None
    radius: float

    def __post_init__(self) -> None:
        if self.scale_lower > self.scale_upper:
            raise Permanent(
                f"The blind match has no pixel scale to try: blind_match_ps_lo={self.scale_lower:g}"
                f" is larger than blind_match_ps_up={self.scale_upper:g}."
            )

    def __str__(self) -> str:
        scales = f"from {self.scale_lower:g} to {self.scale_upper:g} arcsec/px"
        if self.center is None:
            return f"{scales} on the whole sky"
        ra, dec = self.center
        return f"{scales} within {self.radius:g} deg of {ra:.4f} {dec:+.4f}"

    def options(self) -> list[str]:
        """Its options in the command line of solve-field."""
        options = [f"--scale-low={self.scale_lower}", f"--scale-high={self.scale_upper}"]
        if self.center is not None:
            ra, dec = self.center
            options += [f"--ra={ra}", f"--dec={dec}", f"--radius={self.radius}"]
        return [*options, "--scale-units=arcsecperpix"]


def blind_match(
    objects: Table,
    shape: tuple[int, int],
    search: BlindSearch,
    *,
    settings: Settings,
    temporary: Path,
    log: Log,
) -> WCS:
    """The solution that Astrometry.Net finds from the objects' ``x``, ``y`` and ``flux`` alone.

    Raises
    ------
    Permanent
        If it finds none.
    """
    brightest = _brightest(objects)
    if len(brightest) < LEAST_OBJECTS:
        raise Permanent(
            f"{len(brightest)} objects are too few to look for the field: lower sn, or give the "
            "image an astrometric solution."
        )
    log(f"Looking for the field of {len(brightest)} objects with Astrometry.Net, {search}")
    folder = Path(tempfile.mkdtemp(prefix="solve-field-", dir=temporary))
    configuration = settings.stdpipe_solve_field_config or _write_configuration(settings, folder)
    _write_list(brightest, folder / "list.fits")
    _run(_command(folder, shape, search, configuration, settings), log)
    solution = folder / "list.wcs"
    wcs = wcs_of(fits.getheader(solution), shape) if solution.exists() else None
    shutil.rmtree(folder)
    if wcs is None:
        raise Permanent(
            f"Astrometry.Net found no field like this {search}, within "
            f"{settings.skyrelay_solve_limit} s: check blind_match_ps_lo, "
            "blind_match_ps_up and blind_match_center, and that index files for images of this "
            "size are installed."
        )
    return wcs


def _brightest(objects: Table) -> Table:
    flux = floats(objects["flux"])
    order = np.argsort(-flux)[: np.count_nonzero(np.isfinite(flux))]
    return objects[order[:MOST_OBJECTS]]


def _write_configuration(settings: Settings, folder: Path) -> Path:
    """A configuration of all index files in the folders of the settings."""
    indexes = [Path(name.strip()) for name in settings.skyrelay_index_paths.split(",")]
    if not any(any(path.glob(_INDEX_FILES)) for path in indexes):
        raise Permanent(
            "Images cannot be solved here: there are no index files of Astrometry.Net in "
            f"{settings.skyrelay_index_paths} (see SKYRELAY_INDEX_PATHS)."
        )
    lines = [*(f"add_path {path}" for path in indexes), "autoindex"]
    configuration = folder / "astrometry.cfg"
    configuration.write_text("\n".join(lines) + "\n")
    return configuration


def _write_list(objects: Table, path: Path) -> None:
    """The list of objects, with positions that count from 1 as solve-field's do."""
    columns = {
        "X": np.asarray(objects["x"], float) + 1,
        "Y": np.asarray(objects["y"], float) + 1,
        "FLUX": np.asarray(objects["flux"], float),
    }
    Table(columns).write(path, format="fits")


def _command(
    folder: Path,
    shape: tuple[int, int],
    search: BlindSearch,
    configuration: Path,
    settings: Settings,
) -> list[str]:
    height, width = shape
    program = shutil.which(settings.stdpipe_solve_field or "solve-field")
    if program is None:
        raise Permanent("solve-field is not installed here: see STDPIPE_SOLVE_FIELD.")
    return [
        # Its own limit does not end the search in a crowded list: the kernel's does.
        *("prlimit", f"--cpu={settings.skyrelay_solve_limit}"),
        program,
        *(f"--dir={folder}", f"--temp-dir={folder}", f"--config={configuration}"),
        *("--x-column=X", "--y-column=Y", "--sort-column=FLUX"),
        *(f"--width={width}", f"--height={height}", "--crpix-center"),
        f"--tweak-order={_ORDER}",
        # Done by Python programs of its own, for which the worker's environment need not do.
        *("--no-remove-lines", "--uniformize=0"),
        *("--no-plots", "--overwrite"),
        *search.options(),
        str(folder / "list.fits"),
    ]


def _run(command: list[str], log: Log) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    log(done.stdout)
    if done.returncode:
        log(f"solve-field ended with {done.returncode}")
