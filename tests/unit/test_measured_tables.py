"""Are tables that users may have brought read as astropy reads them, and within bounds?"""

from __future__ import annotations

import base64
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import MaskedColumn, Table

from gateway.measurements.parquet import read_columns
from gateway.measurements.products import read_products
from gateway.measurements.votable import MOST_ROWS, Unreadable, read_rows
from skyrelay.imaging.votable import write_votable

_FIELDS = '<FIELD name="ra" datatype="double"/><FIELD name="flags" datatype="int"/>'


def _document(rows: str, fields: str = _FIELDS, before: str = "") -> str:
    return (
        f'<?xml version="1.0"?>{before}<VOTABLE version="1.4"><RESOURCE><TABLE>{fields}<DATA>'
        f"{rows}</DATA></TABLE></RESOURCE></VOTABLE>"
    )


def _plain(rows: str, **options: str) -> str:
    return _document(f"<TABLEDATA>{rows}</TABLEDATA>", **options)


@pytest.mark.parametrize("writer", ["astropy", "skyrelay"])
def test_what_the_stages_write_comes_back(tmp_path: Path, writer: str) -> None:
    table = Table(
        {
            "ra": [10.0, np.nan],
            "flags": MaskedColumn([3, 4], mask=[False, True], dtype=np.int32),
            "name": ["a < b & c", "ä"],
            "seen": [True, False],
            "rb_score": np.array([0.5, 0.25], np.float32),
        }
    )
    path = tmp_path / "a.vot"
    if writer == "astropy":
        table.write(path, format="votable")
    else:
        write_votable(table, path)
    assert read_rows(path) == [
        {"ra": 10.0, "flags": 3, "name": "a < b & c", "seen": True, "rb_score": 0.5},
        {"ra": None, "flags": None, "name": "ä", "seen": False, "rb_score": 0.25},
    ]


def test_only_the_first_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.vot"
    one = _plain("<TR><TD>1</TD><TD>2</TD></TR>")
    path.write_text(one.replace("</RESOURCE>", f"<TABLE>{_FIELDS}</TABLE></RESOURCE>"))
    assert read_rows(path) == [{"ra": 1.0, "flags": 2}]


_ROW = "<TR><TD>1</TD><TD>2</TD></TR>"
_STREAM = '<BINARY><STREAM href="file:///etc/passwd"/></BINARY>'
_INLINE = base64.b64encode(bytes(12)).decode()
_GROWING = (
    "<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'>"
    + "".join(f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in zip("abcdef", "bcdefg", strict=True))
    + "]>"
)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no table",
        "<VOTABLE><nonsense",
        "<VOTABLE></VOTABLE>",
        _plain(_ROW)[:-40],
        _plain(_ROW * (MOST_ROWS + 1)),
        _plain("<TR><TD>1</TD><TD>2</TD><TD>3</TD></TR>"),
        _plain("<TR><TD>1</TD><TD>two</TD></TR>"),
        _plain(f"<TR><TD>1</TD><TD>{'9' * 30}</TD></TR>"),
        _plain("", fields=_FIELDS * 200),
        _plain(f"<TR><TD>{'1' * 5000}</TD><TD>2</TD></TR>"),
        _plain("<TR><TD>&g;</TD><TD>2</TD></TR>", before=_GROWING),
        _plain("<a>" * 1_100_000),
        _document(_STREAM),
        _document(_STREAM.replace("file:///etc/passwd", "http://169.254.169.254/latest")),
        _document(f'<BINARY><STREAM encoding="base64">{_INLINE}</STREAM></BINARY>'),
        _document('<FITS extnum="1"><STREAM href="file:///tmp/a.fits"/></FITS>'),
        "x" * (17 * 1024 * 1024),
    ],
    ids=lambda content: content[-60:],
)
def test_what_is_no_small_plain_table_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "target.vot"
    path.write_text(content)
    with pytest.raises(Unreadable):
        read_rows(path)
    assert read_products(tmp_path).unreadable == ["target.vot"]


def test_a_long_table_is_given_up_where_it_becomes_too_long(tmp_path: Path) -> None:
    path = tmp_path / "target.vot"
    path.write_text(_plain("<TR><TD>1</TD></TR>" * 400_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_products(tmp_path).unreadable == ["target.vot"]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50 * 1024, f"it took {grown} KiB"


def test_a_folder_under_the_name_of_a_product_is_none(tmp_path: Path) -> None:
    for name in ("target.vot", "photometry_results.json"):
        (tmp_path / name).mkdir()
    assert sorted(read_products(tmp_path).unreadable) == ["photometry_results.json", "target.vot"]


@pytest.mark.parametrize("name", ["../../2/image.fits", "a/b", "..", "/etc/passwd", "a\u202eb"])
def test_a_cutout_lies_among_the_cutouts(tmp_path: Path, name: str) -> None:
    write_votable(Table({"ra": [1.0], "cutout_name": [name]}), tmp_path / "candidates.vot")
    (candidate,) = read_products(tmp_path).candidates
    assert candidate["cutout"] is None


@pytest.mark.parametrize(
    "content", ['{"values": %s}' % ('{"a": ' * 200 + "1" + "}" * 200), "[" * 100_000, "[]"]
)
def test_values_that_cannot_be_told_are_unreadable(tmp_path: Path, content: str) -> None:
    (tmp_path / "photometry_results.json").write_text(content)
    assert read_products(tmp_path).unreadable == ["photometry_results.json"]


def test_values_that_no_database_holds_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "photometry_results.json").write_text(
        '{"values": {"filter": {"value": "r\\u0000"}, "n_objects": {"value": 1e300},'
        ' "zero_point": {"value": NaN}}}'
    )
    found = read_products(tmp_path)
    assert (found.filter, found.count("photometry", "n_objects")) == ("", None)
    assert found.value("photometry", "zero_point") is None


def test_a_few_bytes_do_not_become_a_billion_rows(tmp_path: Path) -> None:
    path = tmp_path / "objects.parquet"
    rows = pa.table({"ra": pa.array(np.zeros(2_000_000))})
    with pq.ParquetWriter(path, rows.schema, compression="zstd") as writer:
        for _ in range(10):
            writer.write_table(rows)
    assert path.stat().st_size < 100_000
    with pytest.raises(Unreadable, match="rows"):
        read_columns(path, ("ra",))


def test_a_column_that_is_missing_or_no_number_is_named_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.parquet"
    pq.write_table(pa.table({"ra": ["a"], "dec": [None]}), path)
    with pytest.raises(Unreadable, match="no column x"):
        read_columns(path, ("ra", "x"))
    with pytest.raises(Unreadable):
        read_columns(path, ("ra",))
    assert np.isnan(read_columns(path, ("dec",))["dec"]).all()
