"""Does the default path work through the real clients: names, VizieR, SkyBoT, survey templates?

The services are those of `tests.sky`, which answer from the synthetic sky; nothing leaves this
machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.table import Table
from astropy.time import Time
from stdpipe.astrometry import spherical_match
from stdpipe.cutouts import load_cutout

from skyrelay import products
from skyrelay.errors import Retriable
from skyrelay.messages import Outcome
from skyrelay.settings import Settings
from skyrelay.stage.execute import StageResult
from skyrelay.synthetic import (
    CandidateScore,
    FieldSpec,
    Observation,
    render_observation,
    score_candidates,
)
from tests.sky.heavens import Body, Heavens
from tests.sky.server import Fault, SkyServer
from tests.support.fields import copied
from tests.support.stages import run_stage

SPEC = FieldSpec(
    seed=21, size=512, transients_alone=16, transients_on_galaxies=4, transient_sn=(8.0, 100.0)
)


@dataclass(frozen=True)
class Processed:
    """The field after inspection and photometry with everything at its default."""

    observation: Observation
    asteroid: int  # row of the transients that is none
    server: SkyServer
    settings: Settings
    folder: Path
    inspection: StageResult
    photometry: StageResult

    def score(self, candidates: Table) -> CandidateScore:
        """How the candidates compare with the truth."""
        return score_candidates(self.observation.truth, candidates)

    def has_asteroid(self, candidates: Table) -> bool:
        """Whether the asteroid is among the candidates."""
        row = self.observation.truth.transients[[self.asteroid]]
        return bool(len(_near(candidates, row, 3.0)))


def _near(candidates: Table, places: Table, arcsec: float) -> Any:
    if not len(candidates):
        return ()
    sides = (candidates["ra"], candidates["dec"], places["ra"], places["dec"])
    return spherical_match(*(np.asarray(side, float) for side in sides), arcsec / 3600)[0]


@pytest.fixture(scope="module")
def processed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processed]:
    observation = render_observation(SPEC)
    transients = observation.truth.transients
    # One of the brightest that lie alone is an asteroid.
    alone = np.flatnonzero(np.asarray(transients["host"]) == "none")
    asteroid = int(alone[np.argmax(np.asarray(transients["sn"])[alone])])
    place = transients[asteroid]
    target = transients[
        int(np.argmax(np.asarray(transients["sn"]) * (np.arange(len(transients)) != asteroid)))
    ]
    heavens = Heavens(
        SPEC,
        bodies=(Body("Ceres", place["ra"], place["dec"], float(Time(SPEC.date_obs).jd)),),
        names={"thetarget": (float(target["ra"]), float(target["dec"]))},
    )
    root = tmp_path_factory.mktemp("default")
    folder = root / "task"
    observation.write(folder)
    (folder / "template.fits").unlink()
    (folder / "catalogue.vot").unlink()
    with SkyServer(heavens) as server:
        settings = server.settings(root)
        config = {"target": "The Target", "subtraction_mode": "detection"}
        inspection = run_stage("inspect", folder, config, settings)
        photometry = run_stage("photometry", folder, inspection.config, settings)
        yield Processed(observation, asteroid, server, settings, folder, inspection, photometry)


@pytest.fixture
def server(processed: Processed) -> SkyServer:
    processed.server.mend()
    return processed.server


def test_the_target_is_found_by_its_name(processed: Processed) -> None:
    assert processed.inspection.outcome is Outcome.DONE, processed.inspection.reasons
    config = processed.inspection.config
    expected = processed.server.heavens.names["thetarget"]
    assert (config["target_ra"], config["target_dec"]) == pytest.approx(expected, abs=1e-6)
    assert (config["cat_name"], config["template"]) == ("ps1", "ps1")


def test_the_image_is_calibrated_with_the_catalogue_of_vizier(processed: Processed) -> None:
    result = processed.photometry
    assert result.outcome is Outcome.DONE, result.reasons
    truth = processed.observation.truth.science
    expected = truth.zero_point_at(result.values["aperture_radius"].value)
    assert result.values["zero_point"].value == pytest.approx(expected, abs=0.02)
    assert result.values["color_term"].value == pytest.approx(truth.colour_term, abs=0.03)


def test_the_target_is_shown_beside_the_surveys_image(processed: Processed) -> None:
    cutout = load_cutout(str(processed.folder / products.TARGET_CUTOUT))
    assert cutout["template"].shape == cutout["image"].shape
    assert np.isfinite(cutout["template"]).all()


@pytest.fixture(scope="module")
def searched(
    processed: Processed, tmp_path_factory: pytest.TempPathFactory
) -> tuple[StageResult, Table]:
    """The candidates of the search by catalogue."""
    processed.server.mend()
    folder = copied(processed.folder, tmp_path_factory.mktemp("simple"))
    result = run_stage("simple_transients", folder, processed.photometry.config, processed.settings)
    return result, Table.read(folder / products.CANDIDATES_SIMPLE)


def test_the_search_by_catalogue_finds_what_no_survey_knows(
    processed: Processed, searched: tuple[StageResult, Table]
) -> None:
    result, candidates = searched
    assert result.outcome is Outcome.DONE, result.reasons
    score = processed.score(candidates)
    found, injected = score.counts("none", (8.0, np.inf))
    assert found >= 0.8 * (injected - 1), score.missed
    assert len(score.false) <= 1, score.false
    assert not processed.has_asteroid(candidates)


def test_without_the_services_it_would_be_full_of_what_is_known(
    processed: Processed, searched: tuple[StageResult, Table], tmp_path: Path
) -> None:
    folder = copied(processed.folder, tmp_path)
    config = {**processed.photometry.config, "offline": True}
    settings = processed.settings.model_copy(update={"skyrelay_cache_path": tmp_path / "empty"})
    result = run_stage("simple_transients", folder, config, settings)
    assert result.outcome is Outcome.DEGRADED
    assert ["Gaia eDR3, Pan-STARRS" in each for each in result.reasons] == [True, False]
    assert "SkyBoT is not asked" in result.reasons[1] and "(offline)" in result.reasons[1]
    candidates = Table.read(folder / products.CANDIDATES_SIMPLE)
    assert processed.has_asteroid(candidates)
    assert len(candidates) > len(searched[1]) + 10


def test_the_subtraction_of_pan_starrs_finds_the_transients_only(
    processed: Processed, server: SkyServer, tmp_path: Path
) -> None:
    folder = copied(processed.folder, tmp_path)
    config = {**processed.photometry.config, "filter_vizier": True, "filter_skybot": True}
    result = run_stage("subtraction", folder, config, processed.settings)
    assert result.outcome is Outcome.DONE, result.reasons
    candidates = Table.read(folder / products.CANDIDATES)
    score = processed.score(candidates)
    found, injected = score.counts("none", (8.0, np.inf))
    assert found >= 0.9 * (injected - 1), score.missed
    assert len(score.false) <= 1, score.false
    assert not processed.has_asteroid(candidates)
    stars = processed.observation.truth.stars
    assert len(_near(candidates, stars[np.asarray(stars["r"]) < 19], 1.0)) == 0
    assert server.count()["ps1"] >= 2


@pytest.mark.parametrize("survey", ["ls", "skymapper", "des", "decaps", "ztf", "2mass"])
def test_every_survey_gives_a_template_that_subtracts_well(
    survey: str, processed: Processed, server: SkyServer, tmp_path: Path
) -> None:
    folder = copied(processed.folder, tmp_path)
    config = {**processed.photometry.config, "template": survey}
    result = run_stage("subtraction", folder, config, processed.settings)
    assert result.outcome is Outcome.DONE, result.reasons
    assert result.values["difference_noise_ratio"].value == pytest.approx(1.0, abs=0.1)
    score = processed.score(Table.read(folder / products.CANDIDATES))
    found, injected = score.counts(sn=(8.0, np.inf))
    assert found >= 0.9 * injected, score.missed
    assert len(score.false) <= 2, score.false


def test_a_second_image_of_the_field_asks_for_nothing_new(
    processed: Processed, server: SkyServer, tmp_path: Path
) -> None:
    folder = copied(processed.folder, tmp_path)
    run_stage("photometry", folder, processed.inspection.config, processed.settings)
    assert not server.count()


def test_a_catalogue_that_cannot_be_had_now_is_worth_another_try(
    processed: Processed, server: SkyServer, tmp_path: Path
) -> None:
    server.fail("vizier", Fault.CUT)
    settings = server.settings(tmp_path)
    folder = copied(processed.folder, tmp_path)
    with pytest.raises(Retriable, match=r"VizieR does not answer.*cat_name=local"):
        run_stage("photometry", folder, processed.inspection.config, settings)


def test_a_template_that_cannot_be_had_now_is_worth_another_try(
    processed: Processed, server: SkyServer, tmp_path: Path
) -> None:
    server.fail("hips2fits", Fault.PAGE)
    settings = server.settings(tmp_path)
    folder = copied(processed.folder, tmp_path)
    config = {**processed.photometry.config, "template": "des"}
    with pytest.raises(Retriable, match=r"Hips2fits does not answer.*custom_template.fits"):
        run_stage("subtraction", folder, config, settings)


def test_silent_services_make_the_search_degraded_and_are_named(
    processed: Processed, server: SkyServer, tmp_path: Path
) -> None:
    server.fail("xmatch", Fault.EMPTY)
    server.fail("skybot", Fault.GARBAGE)
    folder = copied(processed.folder, tmp_path)
    settings = server.settings(tmp_path)
    result = run_stage("simple_transients", folder, processed.photometry.config, settings)
    assert result.outcome is Outcome.DEGRADED and len(result.reasons) == 2
    assert "CDS XMatch does not answer (it sent an empty answer)" in result.reasons[0]
    assert "SkyBoT does not answer (it sent no VOTable)" in result.reasons[1]
    # All surveys are asked at the same place: it is not tried again for each.
    assert server.count()["xmatch"] == 3


@pytest.mark.parametrize(
    ("step", "change", "sentence"),
    [
        ("inspect", {"target": "M 31"}, "'M 31' cannot be looked up: Sesame is not asked"),
        ("photometry", {}, "VizieR is not asked.*cat_name=local"),
        ("subtraction", {"template": "ps1"}, "The archive of Pan-STARRS is not asked"),
        ("subtraction", {"template": "ztf"}, "Hips2fits is not asked.*custom_template.fits"),
    ],
)
def test_offline_a_stage_that_cannot_do_without_says_what_to_do(
    step: str, change: dict[str, Any], sentence: str, processed: Processed, server: SkyServer,
    tmp_path: Path,
) -> None:  # fmt: skip
    folder = copied(processed.folder, tmp_path)
    settings = server.settings(tmp_path, skyrelay_offline=True)
    result = run_stage(step, folder, {**processed.photometry.config, **change}, settings)
    assert result.outcome is Outcome.FAILED and len(result.reasons) == 1
    assert re.search(sentence, result.reasons[0]), result.reasons
    assert not server.asked
