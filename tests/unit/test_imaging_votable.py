"""Are tables written as VOTables without harm to what else is in memory?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from astropy.table import Table

from skyrelay.imaging.votable import write_votable

#: Rows of every length up to twice the first buffer of the writer in C.
_ROWS_OF_EVERY_LENGTH = """
import io
from astropy.table import Table
from skyrelay.imaging.votable import write_votable
for length in range(1, 1100):
    write_votable(Table({"text": ["x" * length]}), io.BytesIO())
"""


def test_no_row_of_any_length_is_written_beyond_its_memory() -> None:
    environment = {**os.environ, "PYTHONMALLOC": "debug"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _ROWS_OF_EVERY_LENGTH],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[:500]


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.vot"
    path.write_text("something else")
    written = Table({"name": ["a", "bc"], "mag": [17.25, np.nan], "flags": [0, 4]})
    write_votable(written, path)
    read = Table.read(path)
    assert (list(read["name"]), list(read["flags"])) == (["a", "bc"], [0, 4])
    assert read["mag"][0] == 17.25 and np.ma.is_masked(read["mag"][1])
    assert b"<TABLEDATA>" in path.read_bytes()
