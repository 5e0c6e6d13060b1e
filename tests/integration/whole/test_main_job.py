"""Does an image that goes in over HTTP come out measured and searched?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from demo.material import Material
from demo.results import Results
from demo.user import process, read_results
from demo.verdict import checks
from skyrelay.client import Client
from skyrelay.products import OBJECTS, PHOTOMETRY_PLOTS, SUB_DIFFERENCE
from skyrelay.stack.stack import PROJECT, Stack
from skyrelay.synthetic import Observation
from tests.support.collector import Collector
from tests.support.processes import wait_until


@pytest.fixture(scope="module")
def results(
    client: Client,
    observation: Observation,
    observed: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Results:
    material = Material(
        "the main job",
        observed["image"],
        observed["template"],
        observed["catalogue"],
        config={"custom_template_gain": observation.truth.template.gain, "unknown_key": "kept"},
        truth=observation.truth,
    )
    task = process(client, material, lambda state: None)
    return read_results(client, task, material.steps, tmp_path_factory.mktemp("results"))


def test_all_four_stages_end_well_and_close_to_the_truth(
    results: Results, observation: Observation
) -> None:
    failed = [check.what for check in checks(results, observation.truth) if not check.holds]
    assert not failed
    assert results.state == "subtraction_done"
    assert [stage.step for stage in results.stages] == [
        "inspect",
        "photometry",
        "simple_transients",
        "subtraction",
    ]


def test_what_was_measured_is_in_the_configuration_too(results: Results) -> None:
    assert results.config["zp"] == results.number("photometry", "zero_point")
    assert results.config["fwhm"] == results.number("photometry", "fwhm")
    assert results.config["field_dec"] == pytest.approx(48.0, abs=0.01)
    assert results.config["unknown_key"] == "kept"


def test_the_products_are_there_under_their_known_names(client: Client, results: Results) -> None:
    names = {entry.name for entry in client.files(results.task)}
    wanted = {OBJECTS, SUB_DIFFERENCE, *PHOTOMETRY_PLOTS, "photometry.log", "candidates.vot"}
    assert wanted <= names


def test_a_product_says_with_which_programs_it_was_made(client: Client, results: Results) -> None:
    software = client.origin(results.task, OBJECTS)["software"]
    assert software["sextractor"].startswith("2.")
    assert {"skyrelay", "python", "stdpipe", "astropy"} <= software.keys()


def test_the_trace_of_the_run_shows_the_programs_that_its_stages_have_waited_for(
    client: Client, results: Results, traces: Collector
) -> None:
    run = client.runs(results.task)[0].id
    stages = {stage.step for stage in results.stages}
    wanted = stages | {"program sextractor", "index", "run"}
    assert wait_until(lambda: wanted <= traces.of(run).keys()), traces.of(run).keys()
    spans = [span for span in traces.spans if span.trace == UUID(run)]
    attempts = {span.id: span for span in spans if span.name in stages}
    extractions = [span for span in spans if span.name == "program sextractor"]
    assert "photometry" in {attempts[span.parent].name for span in extractions}
    for span in extractions:
        assert 0 < span.seconds < attempts[span.parent].seconds
        assert span.attributes["skyrelay.ending"] == "ok"


def test_every_line_that_any_process_has_logged_is_an_object_about_its_attempt(
    whole_stack: Stack, results: Results
) -> None:
    for role in set(whole_stack.processes) - {"broker"}:
        lines = [json.loads(line) for line in whole_stack.log_of(role).read_text().splitlines()]
        assert lines
        for line in lines:
            assert {"time", "level", "logger", "message"} <= line.keys(), line
            if line["logger"] == "skyrelay.stage.runner" or line["message"] == "printed":
                assert {"task", "run", "stage", "attempt"} <= line.keys(), line


def test_nothing_of_the_run_is_left_beside_its_products(
    whole_stack: Stack, results: Results
) -> None:
    tasks = whole_stack.folder / "tasks"
    versions = [path.name for path in (tasks / ".versions").glob(f"{results.task}-*")]
    assert versions == [(tasks / str(results.task)).resolve().name]
    assert wait_until(lambda: not list((tasks / ".trash").iterdir()))


def test_the_demo_needs_no_more_than_an_address_and_a_token(
    whole_stack: Stack, observed: dict[str, Path]
) -> None:
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "demo", "--against", whole_stack.base_url),
            *("--token", whole_stack.admin_token, "--image", str(observed["image"])),
            *("--catalog", str(observed["catalogue"]), "--config", "sn=7"),
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "transients_simple_done" in answer.stdout


def test_the_demo_says_which_parameter_it_does_not_know() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "demo", "--config", "spatial_ordr=1"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 2
    assert "did you mean spatial_order" in answer.stderr
