"""What do tests of science share: folders of tasks that have been through both stages?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skyrelay import products
from skyrelay.stage.execute import StageResult
from skyrelay.synthetic import FieldSpec, Truth, render_observation
from tests.support.stages import run_stage

#: Of some 50 transients above S/N 5 one field may by chance have a part less found than the nine in
#: ten, and a false one more than the one in fifty, that `make bench-science` is to show over many.
LEAST_FOUND, MOST_FALSE = 0.85, 2


@dataclass(frozen=True)
class Field:
    """A synthetic observation after inspection and photometry."""

    folder: Path
    truth: Truth
    inspection: StageResult
    photometry: StageResult

    def value(self, name: str) -> Any:
        """A measured value of the photometry."""
        return self.photometry.values[name].value


@pytest.fixture(scope="session")
def synthetic_field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """A field with its transients as targets; tests must not change it."""
    folder = tmp_path_factory.mktemp("synthetic") / "task"
    observation = render_observation(FieldSpec(seed=2))
    observation.write(folder)
    targets = [
        f"T{row['id']} {row['ra']:.7f} {row['dec']:+.7f}" for row in observation.truth.transients
    ]
    config = {"target": "\n".join(targets), "cat_name": "local", "cat_file": "catalogue.vot"}
    inspection = run_stage("inspect", folder, config)
    photometry = run_stage("photometry", folder, inspection.config)
    return Field(folder, observation.truth, inspection, photometry)


@pytest.fixture(scope="session")
def transient_field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """A field with many transients and a template; tests must not change it.

    Nothing was tuned on its seed: change it when something was.
    """
    return _with_template(
        tmp_path_factory.mktemp("transients") / "task",
        FieldSpec(
            seed=53, transients_alone=36, transients_on_galaxies=24, transient_sn=(4.0, 60.0)
        ),
    )


@pytest.fixture(scope="session")
def small_field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """A quarter of such a field, for what needs no numbers of transients."""
    return _with_template(
        tmp_path_factory.mktemp("small") / "task",
        FieldSpec(
            seed=7,
            size=512,
            crowding=2.0,
            transients_alone=8,
            transients_on_galaxies=2,
            transient_sn=(10.0, 60.0),
        ),
    )


def _with_template(folder: Path, spec: FieldSpec) -> Field:
    observation = render_observation(spec)
    paths = observation.write(folder)
    paths["template"].rename(folder / products.CUSTOM_TEMPLATE)
    config = {"cat_name": "local", "cat_file": paths["catalogue"].name, "template": "custom"}
    inspection = run_stage("inspect", folder, config)
    photometry = run_stage("photometry", folder, inspection.config)
    return Field(folder, observation.truth, inspection, photometry)
