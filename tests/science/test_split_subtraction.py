"""Is a subtraction that was spread over several workers the same as one by a single worker?"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from services.subtraction.spread import parts
from skyrelay import products
from skyrelay.messages import Outcome
from skyrelay.records import AttemptRecord
from skyrelay.settings import Settings
from skyrelay.stage.context import Piece
from skyrelay.stage.execute import (
    StageResult,
    Workplace,
    execute,
    execute_join,
    execute_part,
)
from skyrelay.stages import SUBTRACTION
from skyrelay.store.files import clone_tree
from tests.science.conftest import Field
from tests.support.fields import copied
from tests.support.stages import run_stage

#: Tiles of the field: three by three, in parts of four, four and one.
SPLIT = {"sub_size": 180, "sub_split": 4}


def _split_subtraction(folder: Path, config: dict, lost: int = 0) -> StageResult:
    """Prepare, do every part in a folder of its own, and join, as the services do it."""
    settings = Settings(_env_file=None, data_path=folder.parent / "data")
    temporary = folder.parent / "temporary"
    temporary.mkdir()

    def place(where: Path, config: dict) -> Workplace:
        return Workplace(SUBTRACTION, where, config, settings, temporary)

    prepared = folder.parent / "prepared"
    shutil.copytree(folder, prepared)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begun = execute(place(prepared, config), may_split=True)
        assert begun.parts > 1, begun.reasons
        pieces = []
        for part in range(1, begun.parts + 1):
            piece = folder.parent / f"part-{part}"
            clone_tree(prepared, piece)
            result = execute_part(place(piece, begun.config), part)
            assert result.outcome is Outcome.DONE, result.reasons
            if part == lost:
                pieces.append(Piece(part, piece, Outcome.FAILED, ("The worker died.",)))
            else:
                pieces.append(Piece(part, piece, result.outcome, result.reasons))
        shutil.rmtree(folder)
        clone_tree(prepared, folder)
        record = AttemptRecord(
            run="run",
            index=0,
            step="subtraction",
            attempt=1,
            outcome=begun.outcome,
            reasons=begun.reasons,
            started="2026-01-01T00:00:00Z",
            finished="2026-01-01T00:00:00Z",
            config=begun.config,
            values=begun.values,
        )
        return execute_join(place(folder, begun.config), record, pieces)


@pytest.mark.parametrize("method", ["sfft", "zogy"])
def test_products_and_values_of_a_split_subtraction_are_those_of_a_whole_one(
    method: str, small_field: Field, tmp_path: Path
) -> None:
    config = small_field.photometry.config | SPLIT | {"subtraction_method": method}
    (tmp_path / "whole").mkdir()
    whole = copied(small_field.folder, tmp_path / "whole")
    expected = run_stage("subtraction", whole, config)
    folder = copied(small_field.folder, tmp_path)
    result = _split_subtraction(folder, config)
    assert result.outcome is expected.outcome is Outcome.DONE
    assert result.values["method"].value == method
    assert {n: v.value for n, v in result.values.items()} == {
        n: v.value for n, v in expected.values.items()
    }
    for name in (products.SUB_DIFFERENCE, products.SUB_NOISE, products.SUB_TEMPLATE):
        np.testing.assert_array_equal(fits.getdata(folder / name), fits.getdata(whole / name), name)
    ours, theirs = (Table.read(place / products.CANDIDATES) for place in (folder, whole))
    assert len(ours) and ours["ra", "mag_calib"].values_equal(theirs["ra", "mag_calib"])
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}
    log = (folder / SUBTRACTION.log_name).read_text()
    assert log.count("Tile x ") == result.values["n_tiles"].value


def test_the_tiles_of_a_lost_part_are_masked_and_named(small_field: Field, tmp_path: Path) -> None:
    folder = copied(small_field.folder, tmp_path)
    config = small_field.photometry.config | SPLIT
    result = _split_subtraction(folder, config, lost=1)
    assert result.outcome is Outcome.DEGRADED
    assert result.values["n_tiles_failed"].value == 4
    assert all("The worker died" in reason for reason in result.reasons)
    mask = fits.getdata(folder / products.SUB_MASK)
    # The first row of tiles, and the first of the second.
    assert mask[:170].all() and mask[:340, :170].all()
    assert not mask[345:, 10:].all() and not mask[180:, 180:].all()


def test_a_small_image_is_not_split(small_field: Field, tmp_path: Path) -> None:
    class Context:
        path = staticmethod(lambda name: small_field.folder / name)
        parameter = staticmethod({"sub_size": 1000, "sub_overlap": 50, "sub_split": 16}.get)

    assert parts(Context()) == 0
