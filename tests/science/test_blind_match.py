"""Are real images without coordinates solved from their stars alone?

The catalogue for what follows is made of the image's own objects under the known solution.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from stdpipe.astrometry import spherical_distance
from stdpipe.photometry import get_objects_sep

from skyrelay import products
from skyrelay.errors import Permanent
from skyrelay.imaging.blind_match import MOST_OBJECTS, BlindSearch, blind_match
from skyrelay.imaging.votable import write_votable
from skyrelay.imaging.wcs import sky_field, wcs_of
from skyrelay.messages import Outcome
from skyrelay.settings import Settings
from skyrelay.stage.execute import StageResult
from tests.support.fields import copied
from tests.support.stages import run_stage

#: Where there is nothing to be found, it is looked for only so long.
QUICK = {"skyrelay_solve_limit": 10}
BRIEF = {"skyrelay_solve_limit": 2}

SharedData = Callable[[str], Path]


@dataclass(frozen=True)
class RealImage:
    """An image without coordinates, and what is known of its solution.

    ``scale`` is in arcsec/px.
    """

    folder: str
    name: str
    solution: str
    ra: float
    dec: float
    scale: float
    config: dict[str, Any]


PANOPTES = RealImage(
    *("panoptes", "pocs_unsolved.fits", "pocs_unsolved.wcs", 303.2085, 46.0188, 10.302),
    {"blind_match_ps_lo": 5, "blind_match_ps_up": 20},
)
TRES1 = RealImage(
    "tres1", "tres1-200.fit", "tres1-200.wcs", ra=285.9220, dec=36.7366, scale=2.374, config={}
)

images = pytest.mark.parametrize("image", [PANOPTES, TRES1], ids=lambda image: image.folder)


def photometry(
    image: RealImage, source: Path, folder: Path, limit: dict[str, int] = QUICK, **config: Any
) -> tuple[StageResult, Path]:
    """Inspection and photometry of the image in a task's folder."""
    folder.mkdir()
    shutil.copyfile(source / image.name, folder / products.IMAGE)
    _write_catalogue(folder, solution_of(image, source))
    config = {
        "cat_name": "local",
        "cat_file": "stars.vot",
        "filter": "r",
        "use_color": False,
        "spatial_order": 0,
        **image.config,
        **config,
    }
    inspection = run_stage("inspect", folder, config)
    assert inspection.config["blind_match_wcs"] is True
    settings = Settings(_env_file=None, data_path=folder.parent, **limit)
    return run_stage("photometry", folder, inspection.config, settings), folder


def solution_of(image: RealImage, source: Path) -> WCS:
    """The known solution of the image."""
    return wcs_of(fits.getheader(source / image.solution))


def _write_catalogue(folder: Path, wcs: WCS) -> None:
    pixels = fits.getdata(folder / products.IMAGE).astype(float)
    stars = get_objects_sep(pixels, thresh=3.0, aper=3.0, verbose=False)
    ra, dec = wcs.all_pix2world(stars["x"], stars["y"], 0)
    columns = {"ra": ra, "dec": dec, "rmag": stars["mag"] + 25, "e_rmag": stars["magerr"]}
    write_votable(Table(columns), folder / "stars.vot")


@pytest.fixture(scope="module", params=[PANOPTES, TRES1], ids=lambda image: image.folder)
def solved(
    request: pytest.FixtureRequest,
    shared_data: SharedData,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[RealImage, StageResult, Path]:
    """An image that was looked for on the whole sky; tests must not change it."""
    place = tmp_path_factory.mktemp("solved") / "task"
    result, folder = photometry(request.param, shared_data(request.param.folder), place)
    return request.param, result, folder


def check_solution(image: RealImage, result: StageResult) -> None:
    """Whether the image was found where it is."""
    assert result.outcome is Outcome.DONE, result.reasons
    field = result.config
    distance = spherical_distance(field["field_ra"], field["field_dec"], image.ra, image.dec)
    assert 3600 * distance < 2 * image.scale
    assert 3600 * field["pixscale"] == pytest.approx(image.scale, rel=0.003)


def test_real_image_is_solved_on_the_whole_sky(
    solved: tuple[RealImage, StageResult, Path],
) -> None:
    image, result, folder = solved
    check_solution(image, result)
    assert "on the whole sky" in (folder / "photometry.log").read_text()
    assert not list(folder.with_name("task.scratch").glob("solve-field-*"))


@images
def test_real_image_is_solved_around_a_centre(
    image: RealImage, shared_data: SharedData, tmp_path: Path
) -> None:
    config = {"blind_match_center": f"{image.ra + 0.5} {image.dec - 0.5}"}
    result, folder = photometry(image, shared_data(image.folder), tmp_path / "task", **config)
    check_solution(image, result)
    assert "on the whole sky" not in (folder / "photometry.log").read_text()


def test_solution_is_looked_for_once_and_anew_after_another_inspection(
    solved: tuple[RealImage, StageResult, Path], tmp_path: Path
) -> None:
    image, first, place = solved
    folder = copied(place, tmp_path)
    assert (first.config["blind_match_wcs"], first.config["blind_matched"]) == (False, True)
    without = Settings(_env_file=None, data_path=tmp_path, stdpipe_solve_field="/nonexistent")
    second = run_stage("photometry", folder, first.config, without)
    assert second.outcome is Outcome.DONE, second.reasons
    for name in ("field_ra", "field_dec"):
        assert second.config[name] == pytest.approx(first.config[name], abs=image.scale / 3600)
    # The image may be another one by now.
    inspection = run_stage("inspect", folder, second.config, without)
    assert inspection.config["blind_match_wcs"] is True
    assert not (folder / products.IMAGE_WCS).exists()
    third = run_stage("photometry", folder, inspection.config, without)
    assert third.outcome is Outcome.FAILED and "solve-field" in third.reasons[0]


def test_found_solution_holds_over_the_whole_image(
    solved: tuple[RealImage, StageResult, Path], shared_data: SharedData
) -> None:
    image, _, folder = solved
    objects = Table.read(folder / products.OBJECTS)
    known = solution_of(image, shared_data(image.folder))
    ra, dec = known.all_pix2world(objects["x"], objects["y"], 0)
    away = 3600 * spherical_distance(ra, dec, objects["ra"], objects["dec"])
    # The Bayer image has too few clean stars for its solution to be refined.
    within = 2.0 if image is PANOPTES else 1.0
    assert np.percentile(away, 95) < within * image.scale


def test_field_outside_the_searched_circle_ends_in_a_sentence(
    shared_data: SharedData, tmp_path: Path
) -> None:
    source = shared_data(PANOPTES.folder)
    config = {"blind_match_center": "10 -40", "blind_match_sr0": 1}
    result, _ = photometry(PANOPTES, source, tmp_path / "task", BRIEF, **config)
    assert result.outcome is Outcome.FAILED
    assert result.reasons == (
        "Astrometry.Net found no field like this from 5 to 20 arcsec/px within 1 deg of 10.0000 "
        "-40.0000, within 2 s: check blind_match_ps_lo, blind_match_ps_up and "
        "blind_match_center, and that index files for images of this size are installed.",
    )


def random_stars(number: int) -> Table:
    random = np.random.default_rng(1)
    return Table(
        {
            "x": random.uniform(0, 1000, number),
            "y": random.uniform(0, 1000, number),
            "flux": random.uniform(10, 1000, number),
        }
    )


#: A field that is not on the sky is quickly recognised if little of the sky is looked at.
NARROW = BlindSearch(scale_lower=5, scale_upper=6, center=(10, 10), radius=1)


def refusal(tmp_path: Path, objects: Table, log: Callable[..., None] = print, **env: Any) -> str:
    """The sentence with which the search for these objects ends."""
    with pytest.raises(Permanent) as caught:
        blind_match(
            objects,
            (1000, 1000),
            NARROW,
            settings=Settings(_env_file=None, **(BRIEF | env)),
            temporary=tmp_path,
            log=log,
        )
    return str(caught.value)


def test_only_the_brightest_objects_are_looked_at(tmp_path: Path) -> None:
    objects = random_stars(3 * MOST_OBJECTS)
    objects["flux"][0] = np.nan
    lines: list[str] = []
    assert "found no field" in refusal(tmp_path, objects, log=lambda *words: lines.append(words[0]))
    assert f"field of {MOST_OBJECTS} objects" in lines[0]


@pytest.mark.parametrize(
    ("number", "env", "sentence"),
    [
        (4, {}, "4 objects are too few"),
        (50, {"skyrelay_index_paths": "/nonexistent,/proc"}, "no index files of Astrometry.Net"),
        (50, {"stdpipe_solve_field": "/nonexistent/solve-field"}, "solve-field is not installed"),
        (50, {"stdpipe_solve_field_config": "/nonexistent/cfg"}, "found no field"),
    ],
)
def test_what_cannot_be_searched_ends_in_a_sentence(
    tmp_path: Path, number: int, env: dict[str, Any], sentence: str
) -> None:
    assert sentence in refusal(tmp_path, random_stars(number), **env)


def test_scales_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(Permanent, match="blind_match_ps_lo=5 is larger than blind_match_ps_up=4"):
        BlindSearch(scale_lower=5, scale_upper=4, center=None, radius=2)


def test_configuration_of_the_installation_is_used(shared_data: SharedData, tmp_path: Path) -> None:
    source = shared_data(TRES1.folder)
    pixels = fits.getdata(source / TRES1.name).astype(float)
    stars = get_objects_sep(pixels, thresh=5.0, aper=3.0, verbose=False)
    search = BlindSearch(scale_lower=2, scale_upper=3, center=(TRES1.ra, TRES1.dec), radius=1)
    own = tmp_path / "own.cfg"
    settings = Settings(
        _env_file=None, skyrelay_index_paths="/nonexistent", stdpipe_solve_field_config=own, **QUICK
    )

    def solve() -> WCS:
        return blind_match(
            stars, pixels.shape, search, settings=settings, temporary=tmp_path, log=print
        )

    own.write_text(f"add_path {tmp_path}\nautoindex\n")
    with pytest.raises(Permanent, match="found no field"):
        solve()
    own.write_text("add_path /usr/share/astrometry\nautoindex\n")
    assert 3600 * sky_field(solve(), pixels.shape).pixel_scale == pytest.approx(2.374, rel=0.003)
