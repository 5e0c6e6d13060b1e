"""Is what a difference image shows told apart: new light, dipoles, cosmic rays, blotches?"""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from scipy.ndimage import gaussian_filter, shift

from skyrelay.imaging import candidates
from skyrelay.imaging.candidates import Field
from skyrelay.imaging.point_spread import moffat

FWHM, NOISE, SIDE = 3.5, 10.0, 128
PROFILE = moffat(FWHM, 21)


def placed(x: float, y: float, flux: float) -> np.ndarray:
    """A point source on an empty image."""
    plane = np.zeros((SIDE, SIDE))
    plane[SIDE // 2 - 10 : SIDE // 2 + 11, SIDE // 2 - 10 : SIDE // 2 + 11] = flux * PROFILE
    return shift(plane, (y - SIDE // 2, x - SIDE // 2), order=3)


def field(signal: np.ndarray, *, convolved: np.ndarray | None = None, seed: int = 1) -> Field:
    """A difference image of the signal with noise."""
    noise = np.random.default_rng(seed).normal(0, NOISE, (SIDE, SIDE))
    return Field(
        difference=signal + noise,
        noise=np.full((SIDE, SIDE), NOISE),
        convolved=np.zeros((SIDE, SIDE)) if convolved is None else convolved,
        mask=np.zeros((SIDE, SIDE), dtype=bool),
        profile=PROFILE,
        fwhm=FWHM,
    )


def flux_of(sn: float) -> float:
    """Flux of a point source with this optimal S/N."""
    return sn * NOISE / float(np.sqrt(np.sum(PROFILE**2)))


def judged(of: Field, sn: float = 5.0) -> Table:
    return candidates.measure(of, candidates.detect(of, sn, 5))


@pytest.mark.parametrize("sn", [8, 20, 100])
def test_point_source_is_found_where_it_is_and_as_bright_as_it_is(sn: float) -> None:
    found = judged(field(placed(60.3, 71.8, flux_of(sn))))
    assert len(found) == 1
    row = found[0]
    assert np.hypot(row["x"] - 60.3, row["y"] - 71.8) < 3 / sn
    assert abs(row["psf_flux"] - flux_of(sn)) < 4 * row["psf_flux_err"] + 0.02 * flux_of(sn)
    assert candidates.is_point_source(found)[0] and not candidates.is_dipole(found)[0]
    assert candidates.stands_out(found, 5)[0]


def test_noise_alone_gives_nothing() -> None:
    assert sum(len(candidates.detect(field(placed(9, 9, 0), seed=s), 5, 5)) for s in range(5)) == 0


def test_transient_on_a_galaxy_is_no_dipole() -> None:
    galaxy = gaussian_filter(placed(64, 64, flux_of(150)), 2)
    found = judged(field(placed(65.5, 63.0, flux_of(8)), convolved=galaxy))
    assert len(found) == 1
    assert candidates.is_point_source(found)[0] and not candidates.is_dipole(found)[0]


def test_shifted_star_is_a_dipole() -> None:
    star = placed(64, 64, 60_000)
    found = judged(field(shift(star, (0.2, -0.15), order=3) - star, convolved=star))
    assert len(found) > 0
    assert candidates.is_dipole(found).all()


def test_star_that_is_scaled_wrongly_is_no_candidate() -> None:
    star = placed(64, 64, 60_000)
    found = judged(field(0.04 * star, convolved=star))
    assert len(found) == 1 and candidates.is_dipole(found).all()


def test_cosmic_ray_is_no_point_source() -> None:
    signal = np.zeros((SIDE, SIDE))
    signal[40, 50], signal[40, 51] = 900.0, 300.0
    found = judged(field(signal))
    assert len(found) > 0 and not candidates.is_point_source(found).any()


def test_blotch_does_not_stand_out() -> None:
    blotch = gaussian_filter(placed(64, 64, flux_of(120)), 12)
    found = judged(field(blotch))
    kept = candidates.is_point_source(found) & candidates.stands_out(found, 5)
    assert len(found) > 0 and not kept.any()


def test_masked_light_is_not_found() -> None:
    of = field(placed(60, 60, flux_of(50)))
    of.mask[50:70, 50:70] = True
    assert len(candidates.detect(of, 5, 5)) == 0


def test_everything_masked_is_no_error() -> None:
    of = field(placed(60, 60, flux_of(50)))
    of.mask[:] = True
    found = judged(of)
    assert len(found) == 0 and {"psf_flux", "d_dipole"} <= set(found.colnames)


def test_source_at_the_edge_is_measured() -> None:
    found = judged(field(placed(3.0, 64.0, flux_of(60))))
    assert len(found) == 1 and abs(found[0]["x"] - 3.0) < 0.2


def test_duplicates_become_the_brightest_of_them() -> None:
    table = Table({"x": [10.0, 11.0, 40.0], "y": [10.0, 10.5, 40.0], "sn": [6.0, 9.0, 7.0]})
    merged = candidates.merge_duplicates(table, 3.0)
    assert sorted(merged["sn"]) == [7.0, 9.0]


def test_no_more_than_the_most_significant_are_looked_at() -> None:
    found = Table({"sn": np.arange(candidates.MOST + 7.0)})
    kept, dropped = candidates.most_significant(found)
    assert (len(kept), dropped) == (candidates.MOST, 7) and min(kept["sn"]) == 7
    assert candidates.most_significant(found[:5])[1] == 0
