"""Where do the transients go, and how bright must they be for the wanted S/N?

S/N is that of a PSF-weighted flux with everything known but the flux: for F electrons on
n_eff = 1 / sum(psf^2) pixels of variance v each, S/N = F / sqrt(n_eff v + F). Sky, host and
read-out noise make v. A detection by aperture or difference has somewhat less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

from skyrelay.synthetic.galaxies import BRIGHTEST
from skyrelay.synthetic.psf import Pixels, PsfField
from skyrelay.synthetic.render import pixel_angles
from skyrelay.synthetic.spec import Exposure, FieldSpec
from skyrelay.synthetic.wcs import to_pixels

#: Hosts are galaxies that the science image shows.
FAINTEST_HOST = 20.0  # mag in r
#: Where in its host a transient is, in half-light radii.
HOST_OFFSET = (0.2, 1.2)
#: Nothing closer than this to an edge, another transient or a bad column.
EDGE, APART, OFF_COLUMN = 30.0, 40.0, 12.0
#: "Alone" means that other sources give less than this part of the sky noise near by.
EMPTY = 0.5
#: After so many vain tries, twice as much light near by is allowed: crowded fields are never empty.
PATIENCE = 200


@dataclass(frozen=True)
class Ground:
    """What is there already: the two images' geometry and the light of the static sky."""

    exposure: Exposure
    wcs: WCS
    template: Exposure
    template_wcs: WCS
    stars: Pixels  # ADU, free of noise
    galaxies: Pixels
    sky: Pixels
    bad_columns: Table

    def allows(self, x: float, y: float, taken: list[tuple[float, float]]) -> bool:
        """Whether a transient there is on both images and clear of edges, columns and others."""
        if not _within(x, y, self.exposure):
            return False
        ra, dec = self.wcs.all_pix2world([x], [y], 0)
        (x_template,), (y_template,) = to_pixels(self.template_wcs, ra, dec)
        return (
            _within(x_template, y_template, self.template)
            and all(np.hypot(x - a, y - b) > APART for a, b in taken)
            and all(abs(x - column) > OFF_COLUMN for column in self.bad_columns["x"])
        )

    def brightest_near(self, light: Pixels, x: float, y: float) -> float:
        """Largest value of `light` within 3 FWHM."""
        reach = int(np.ceil(3 * self.exposure.fwhm))
        column, row = round(x), round(y)
        rows = slice(max(row - reach, 0), row + reach + 1)
        return float(light[rows, max(column - reach, 0) : column + reach + 1].max())


def draw_transients(spec: FieldSpec, ground: Ground, galaxies: Table) -> Table:
    """The transients of the night.

    `galaxies` are those located on the science image. Returns id, ra, dec (degrees), x, y
    (pixels), mag, colour (mag), flux (ADU), sn, host (none or galaxy), host_id (-1 if none),
    host_mag, separation (arcsec from the host's centre). Fewer hosts than asked for means
    fewer transients on galaxies.
    """
    rng = spec.rng("transients")
    taken: list[tuple[float, float]] = []
    hosts = _place_on_galaxies(spec, ground, galaxies, rng, taken)
    _place_alone(spec, ground, rng, taken)
    host_rows = np.array(hosts + [-1] * (len(taken) - len(hosts)), dtype=int)
    x, y = np.array(taken).reshape(-1, 2).T
    table = Table({"id": np.arange(len(taken)), "x": x, "y": y})
    table["sn"] = np.concatenate(
        [_spread(spec, rng, len(hosts)), _spread(spec, rng, len(taken) - len(hosts))]
    )
    table["flux"] = [_flux_for(row["sn"], row["x"], row["y"], ground) for row in table]
    table["colour"] = rng.normal(0.1, 0.2, len(table))
    exposure = ground.exposure
    table["mag"] = (
        exposure.zero_point + exposure.colour_term * table["colour"] - 2.5 * np.log10(table["flux"])
    )
    table["ra"], table["dec"] = ground.wcs.all_pix2world(x, y, 0)
    _describe_hosts(table, host_rows, galaxies, exposure)
    return table


def _place_on_galaxies(
    spec: FieldSpec,
    ground: Ground,
    galaxies: Table,
    rng: np.random.Generator,
    taken: list[tuple[float, float]],
) -> list[int]:
    hosts: list[int] = []
    magnitude = np.asarray(galaxies["r"])
    good = np.flatnonzero((magnitude > BRIGHTEST) & (magnitude < FAINTEST_HOST))
    angles = np.radians(pixel_angles(galaxies, ground.wcs))
    for row in rng.permutation(good):
        if len(hosts) == spec.transients_on_galaxies:
            break
        galaxy = galaxies[row]
        radius = rng.uniform(*HOST_OFFSET) * galaxy["half_light"] / ground.exposure.pixel_scale
        phase = rng.uniform(0, 2 * np.pi)
        along, across = radius * np.cos(phase), radius * np.sin(phase) * galaxy["axis_ratio"]
        cos, sin = np.cos(angles[row]), np.sin(angles[row])
        x = float(galaxy["x"] + along * cos - across * sin)
        y = float(galaxy["y"] + along * sin + across * cos)
        if not ground.allows(x, y, taken):
            continue
        if ground.brightest_near(ground.stars, x, y) < ground.exposure.sky_rms:
            hosts.append(int(row))
            taken.append((x, y))
    return hosts


def _place_alone(
    spec: FieldSpec,
    ground: Ground,
    rng: np.random.Generator,
    taken: list[tuple[float, float]],
) -> None:
    light = ground.stars + ground.galaxies
    wanted = len(taken) + spec.transients_alone
    limit, tries = EMPTY * ground.exposure.sky_rms, 0
    while len(taken) < wanted and limit < ground.exposure.saturation:
        tries += 1
        if tries % PATIENCE == 0:
            limit *= 2
        x = float(rng.uniform(0, ground.exposure.width))
        y = float(rng.uniform(0, ground.exposure.height))
        if ground.allows(x, y, taken) and ground.brightest_near(light, x, y) < limit:
            taken.append((x, y))


def _spread(spec: FieldSpec, rng: np.random.Generator, count: int) -> Pixels:
    # Evenly spread in log S/N, so that a handful of transients covers the whole range.
    return rng.permutation(np.geomspace(*spec.transient_sn, count)) if count else np.zeros(0)


def _flux_for(sn: float, x: float, y: float, ground: Ground) -> float:
    exposure = ground.exposure
    psf = PsfField.of(exposure).at(x, y)
    stamp, column, row = psf.stamp(x, y, int(np.ceil(2 * psf.fwhm)))
    region = (slice(row, row + stamp.shape[0]), slice(column, column + stamp.shape[1]))
    light = ground.stars[region] + ground.galaxies[region] + ground.sky[region]
    level = float(np.sum(light * stamp**2) / np.sum(stamp**2))
    gain = exposure.gain
    noise = psf.noise_area() * (level * gain + exposure.read_noise**2)
    electrons = sn**2 / 2 + np.sqrt(sn**4 / 4 + sn**2 * noise)
    return float(electrons / gain)


def _describe_hosts(
    table: Table, rows: NDArray[np.intp], galaxies: Table, exposure: Exposure
) -> None:
    hosted = rows >= 0
    table["host"] = np.where(hosted, "galaxy", "none")
    table["host_id"] = np.full(len(table), -1)
    table["host_mag"] = np.full(len(table), np.nan)
    table["separation"] = np.full(len(table), np.nan)
    hosts = galaxies[rows[hosted]]
    table["host_id"][hosted] = hosts["id"]
    table["host_mag"][hosted] = hosts[exposure.band]
    table["separation"][hosted] = exposure.pixel_scale * np.hypot(
        table["x"][hosted] - hosts["x"], table["y"][hosted] - hosts["y"]
    )


def _within(x: float, y: float, exposure: Exposure) -> bool:
    return EDGE < x < exposure.width - EDGE and EDGE < y < exposure.height - EDGE
