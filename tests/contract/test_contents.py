"""Does a client learn what is in a file, and get tables in the format it wants?"""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import Table

from skyrelay.imaging.votable import write_votable
from tests.support.gateway import Bench, Caller

STARS = Table(
    {
        "ra": [10.0, 20.0, np.nan],
        "flags": [1, 2, 3],
        "name": ["=SUM(A1)", "a <b> & c", "ä"],
        "seen": [True, False, True],
    }
)


@pytest.fixture
def folder(bench: Bench, alice: Caller) -> Path:
    """The folder of task 1."""
    return bench.store.folder(alice.new_task())


def info(caller: Caller, path: str, **query: Any) -> dict[str, Any]:
    answer = caller.get(f"tasks/1/info/{path}", query_string=query)
    assert answer.status_code == 200, answer.json
    found: dict[str, Any] = answer.json
    return found


def image(*more: fits.hdu.base.ExtensionHDU) -> bytes:
    first = fits.PrimaryHDU(np.zeros((20, 30), np.float32))
    first.header["EXPTIME"] = (60.0, "seconds")
    first.header["OBJECT"] = "M 51"
    first.header["HISTORY"] = "made for a test"
    content = io.BytesIO()
    fits.HDUList([first, *more]).writeto(content)
    return content.getvalue()


def test_the_headers_of_all_extensions_are_told(alice: Caller, folder: Path) -> None:
    rows = fits.BinTableHDU(STARS["ra", "flags"], name="STARS")
    packed = fits.CompImageHDU(np.ones((8, 9), np.int16), name="SCI")
    (folder / "image.fits").write_bytes(image(rows, packed, fits.ImageHDU(name="NOTE")))
    found = info(alice, "image.fits")
    assert found["mime"] == "application/fits" and found["complete"] is True
    assert [(each["index"], each["name"], each["kind"]) for each in found["headers"]] == [
        (0, "", "image"),
        (1, "STARS", "table"),
        (2, "SCI", "packed image"),
        (3, "NOTE", "empty"),
    ]
    assert [each["shape"] for each in found["headers"]][::2] == [[20, 30], [8, 9]]
    cards = found["headers"][0]["cards"]
    assert ["EXPTIME", 60.0, "seconds"] in cards and ["OBJECT", "M 51", ""] in cards
    assert ["HISTORY", "made for a test", ""] in cards


def test_what_is_broken_or_packed_is_told_as_far_as_it_goes(alice: Caller, folder: Path) -> None:
    whole = image(fits.ImageHDU(np.zeros((4, 4)), name="TWO"))
    (folder / "a.fits.gz").write_bytes(gzip.compress(whole))
    assert [each["name"] for each in info(alice, "a.fits.gz")["headers"]] == ["", "TWO"]
    card = fits.Card("OBJECT", "M 51").image.encode()
    (folder / "b.fits").write_bytes(whole.replace(card, b"OBJECT  = sixty seconds".ljust(80)))
    assert len(info(alice, "b.fits")["headers"]) == 2
    (folder / "c.fits").write_bytes(whole[:400])
    assert info(alice, "c.fits")["complete"] is False
    many = whole.replace(b"NAXIS   =                    2", b"NAXIS   =          99999999999")
    (folder / "d.fits").write_bytes(many)
    assert info(alice, "d.fits")["complete"] is False


@pytest.mark.parametrize("name", ["stars.vot", "stars.parquet"])
def test_the_first_rows_of_a_table_are_shown(alice: Caller, folder: Path, name: str) -> None:
    if name.endswith("vot"):
        write_votable(STARS, folder / name)
    else:
        STARS.write(folder / name, format="parquet")
    # Under the other name it is looked into as well.
    for asked in ("stars.vot", "stars.parquet"):
        found = info(alice, asked, rows=2, columns=3)
        assert found["name"] == found["path"] == name
        assert found["table"] == {
            "count": 3,
            "columns": ["ra", "flags", "name", "seen"],
            "rows": [[10.0, 1, "=SUM(A1)"], [20.0, 2, "a <b> & c"]],
        }
    assert info(alice, name)["table"]["rows"][2] == [None, 3, "ä", True]
    for wrong in ("rows=-1", "rows=9999", "columns=0"):
        assert alice.get(f"tasks/1/info/{name}?{wrong}").status_code == 400


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("inspect.log", b"one line\n", "text/plain"),
        ("a.reg", "fk5; circle(1, 2, ä)".encode(), "text/plain"),
        ("a.csv", b"a,b\n", "text/csv"),
        ("fwhm.png", b"\x89PNG\r\n\x1a\n....", "image/png"),
        ("a.gz", b"\x1f\x8b....", "application/gzip"),
        ("page.fits", b"<html>", "text/plain"),
        ("photometry.pickle", b"\x80\x04\x00", "application/octet-stream"),
        ("empty", b"", "text/plain"),
    ],
)
def test_the_kind_of_a_file_is_that_of_its_content(
    alice: Caller, folder: Path, name: str, content: bytes, kind: str
) -> None:
    (folder / name).write_bytes(content)
    found = info(alice, name)
    assert (found["mime"], found["size"]) == (kind, len(content))
    assert not found.keys() & {"headers", "table"}


@pytest.mark.parametrize(
    "content", [b"PAR1 and no more", b"<?xml version='1.0'?><VOTABLE>", b"PAR1" + b"\xff" * 5000]
)
def test_a_table_that_is_none_says_why(alice: Caller, folder: Path, content: bytes) -> None:
    (folder / "a.parquet").write_bytes(content)
    assert info(alice, "a.parquet")["unreadable"]
    answer = alice.get("tasks/1/table/a.parquet")
    assert answer.status_code == 400 and "cannot be converted" in answer.json["error"]
    assert alice.get("tasks/1/files/a.vot").status_code == 400


def test_a_votable_is_had_where_only_parquet_is_there(alice: Caller, folder: Path) -> None:
    many = Table({"ra": np.linspace(0, 1, 5000), "name": ["a <b> & c"] * 5000})
    many.write(folder / "objects.parquet", format="parquet")
    answer = alice.get("tasks/1/files/objects.vot")
    assert answer.status_code == 200
    assert "filename=objects.vot" in answer.headers["Content-Disposition"]
    table = parse_single_table(io.BytesIO(answer.data)).to_table()
    np.testing.assert_array_equal(table["ra"], many["ra"])
    assert set(table["name"]) == {"a <b> & c"}
    # What is there as it is wanted is sent as it is.
    (folder / "objects.vot").write_bytes(b"its own")
    with alice.get("tasks/1/files/objects.vot") as file:
        assert file.data == b"its own"
    for missing in ("cat.vot", "cat.parquet", "cat.fits", "objects.csv"):
        assert alice.get(f"tasks/1/files/{missing}").status_code == 404


@pytest.mark.parametrize("form", ["csv", "votable", "parquet"])
@pytest.mark.parametrize("name", ["stars.vot", "stars.parquet"])
def test_tables_are_converted_to_every_format(
    alice: Caller, folder: Path, name: str, form: str
) -> None:
    if name.endswith("vot"):
        write_votable(STARS, folder / name)
    else:
        STARS.write(folder / name, format="parquet")
    answer = alice.get(f"tasks/1/table/{name}?format={form}")
    assert answer.status_code == 200
    if form == "csv":
        rows = list(csv.reader(io.StringIO(answer.text)))
        assert rows[0] == ["ra", "flags", "name", "seen"]
        assert rows[1] == ["10.0", "1", "'=SUM(A1)", "True"]
        assert rows[3][0] == ""
    elif form == "parquet":
        rows = pq.read_table(io.BytesIO(answer.data)).to_pylist()
        assert rows[2] == {"ra": None, "flags": 3, "name": "ä", "seen": True}
    else:
        table = parse_single_table(io.BytesIO(answer.data)).to_table()
        assert list(table["name"]) == list(STARS["name"])
        assert list(table["seen"]) == [True, False, True]
        assert table["ra"].mask.tolist() == [False, False, True]
    assert alice.get(f"tasks/1/table/{name}?format=pickle").status_code == 400


def test_files_of_the_data_folder_are_looked_into(bench: Bench, alice: Caller) -> None:
    (bench.gateway.settings.data_path / "night 1").mkdir()
    (bench.gateway.settings.data_path / "night 1" / "a.fits").write_bytes(image())
    answer = alice.get("files/night 1/a.fits/info/")
    assert answer.json["path"] == "night 1/a.fits"
    assert answer.json["headers"][0]["shape"] == [20, 30]
    for missing in ("night 1", "night 1/b.fits", "../a.fits"):
        assert alice.get(f"files/{missing}/info/").status_code == 404


def test_only_those_who_may_see_a_task_look_into_its_files(
    alice: Caller, eve: Caller, folder: Path
) -> None:
    (folder / "a.log").write_text("a note")
    for route in ("info", "table"):
        assert eve.get(f"tasks/1/{route}/a.log").status_code == 403
        assert alice.get(f"tasks/1/{route}/b.log").status_code == 404
        assert alice.get(f"tasks/1/{route}/..%2Fb.log").status_code == 404
        assert alice.get(f"tasks/2/{route}/a.log").status_code == 404
