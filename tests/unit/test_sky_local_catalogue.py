"""Is any table of stars a catalogue, whatever its format and the names of its columns?"""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Column, MaskedColumn, Table
from astropy.time import Time

from skyrelay.errors import Permanent
from skyrelay.imaging.votable import write_votable
from skyrelay.settings import Settings
from skyrelay.sky.catalogues import columns_for, tidied
from skyrelay.sky.columns import POSITION_ERROR
from skyrelay.sky.healpix import Cone
from skyrelay.sky.local_catalogue import find_catalogue, read_catalogue

#: Of a file, all stars are read.
ANYWHERE = Cone(0.0, 0.0, 1.0)


def stars() -> Table:
    return Table(
        {
            "ra": [10.0, 10.1, 10.2],
            "dec": [20.0, 20.1, 20.2],
            "gmag": [15.0, 16.0, np.nan],
            "e_gmag": [0.01, 0.02, np.nan],
            "rmag": [14.5, 15.4, 16.0],
            "e_rmag": [0.01, 0.01, 0.02],
        }
    )


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("stars.vot", "votable"),
        ("stars.fits", "fits"),
        ("stars.parquet", "parquet"),
        ("stars.csv", "ascii.csv"),
        ("stars.ecsv", "ascii.ecsv"),
        ("stars.txt", "ascii.commented_header"),
    ],
)
def test_every_format_is_read(name: str, format: str, tmp_path: Path) -> None:
    stars().write(tmp_path / name, format=format)
    table = read_catalogue(tmp_path / name, "r", ANYWHERE)
    assert list(table["rmag"]) == [14.5, 15.4, 16.0]
    assert np.isnan(table["gmag"][2])
    assert table["RAJ2000"][1] == pytest.approx(10.1)
    assert columns_for(table, "r", name).color_name == "g - r"


def test_four_columns_without_a_header_are_position_magnitude_and_error(tmp_path: Path) -> None:
    path = tmp_path / "stars.cat"
    path.write_text("173.460684 0.565263 20.4670 0.0290\n173.514467 0.601719 15.8380 0.0040\n")
    table = read_catalogue(path, "i", ANYWHERE)
    assert list(table["imag"]) == [20.467, 15.838]
    assert list(table["e_imag"]) == [0.029, 0.004]


@pytest.mark.parametrize(
    ("ra", "dec", "mag", "error"),
    [
        ("RA", "DEC", "g_mag", "g_mag_err"),
        ("_RAJ2000", "_DEJ2000", "gmag", "e_gmag"),
        ("RAdeg", "DEdeg", "mag_g", "magerr_g"),
        ("ra_deg", "dec_deg", "psfmag_g", "psfmagerr_g"),
        ("ALPHA_J2000", "DELTA_J2000", "g", "g_err"),
        ("raMean", "decMean", "gMeanPSFMag", "gMeanPSFMagErr"),
        ("Ra", "Dec", "gPSF", "e_gPSF"),
        ("ra", "dec", "mag", "magerr"),
        ("ra", "dec", "MAG", "dmag"),
        ("ra", "dec", "magnitude", "err"),
    ],
)
def test_columns_are_recognized_by_many_names(
    ra: str, dec: str, mag: str, error: str, tmp_path: Path
) -> None:
    table = Table({"id": [1], ra: [10.0], dec: [20.0], mag: [15.0], error: [0.01]})
    table.write(tmp_path / "stars.csv")
    read = read_catalogue(tmp_path / "stars.csv", "g", ANYWHERE)
    assert read["gmag"][0] == 15.0
    if error != "dmag":
        assert read["e_gmag"][0] == 0.01


def test_upper_and_lower_case_tell_cousins_from_sloan(tmp_path: Path) -> None:
    table = Table(
        {"ra": [1.0], "dec": [2.0], "Rmag": [15.0], "rmag": [15.2], "phot_g_mean_mag": [15]}
    )
    table.write(tmp_path / "stars.csv")
    read = read_catalogue(tmp_path / "stars.csv", "r", ANYWHERE)
    assert (read["Rmag"][0], read["rmag"][0], read["Gmag"][0]) == (15.0, 15.2, 15.0)


def test_sexagesimal_positions_and_fillers_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "stars.csv"
    path.write_text("ra,dec,rmag\n01:00:00,-00:30:00,15\n02:00:00,+10:30:00,-99\n")
    read = read_catalogue(path, "r", ANYWHERE)
    assert list(read["RAJ2000"]) == pytest.approx([15.0, 30.0])
    assert list(read["DEJ2000"]) == pytest.approx([-0.5, 10.5])
    assert np.isnan(read["rmag"][1])


def test_position_errors_keep_their_unit(tmp_path: Path) -> None:
    table = stars()
    table["e_ra"] = [30.0, 30.0, 30.0] * u.mas
    table["e_dec"] = [0.03, 0.03, 0.03]
    write_votable(table, tmp_path / "stars.vot")
    read = read_catalogue(tmp_path / "stars.vot", "r", ANYWHERE)
    assert read["e_RAJ2000"].quantity.to_value(u.arcsec)[0] == pytest.approx(0.03)
    assert read["e_DEJ2000"].quantity.to_value(u.arcsec)[0] == pytest.approx(0.03)


def test_position_errors_are_in_degrees_whoever_made_the_catalogue() -> None:
    for unit, value in ((u.mas, 30.0), (u.arcsec, 0.03), (u.deg, 0.03 / 3600), (None, 0.03)):
        table = Table({"e_RAJ2000": Column(np.array([value, np.nan, -1.0]), unit=unit)})
        error = tidied(table, "a survey")["e_RAJ2000"]
        assert error.unit == u.deg
        assert list(error) == pytest.approx([0.03 / 3600, POSITION_ERROR, POSITION_ERROR])


def test_columns_of_texts_and_objects_can_be_stored_again(tmp_path: Path) -> None:
    table = stars()
    table["name"] = Column(["A 1", "B 2", "C 3"], dtype=object)
    table["seen"] = Time([59000.0, 59001.0, 59002.0], format="mjd")
    table.write(tmp_path / "stars.ecsv")
    del table["seen"]
    write_votable(table, tmp_path / "stars.vot")
    for name in ("stars.ecsv", "stars.vot"):
        read = read_catalogue(tmp_path / name, "r", ANYWHERE)
        read.write(tmp_path / "cat.parquet", overwrite=True)
        assert list(Table.read(tmp_path / "cat.parquet")["name"]) == ["A 1", "B 2", "C 3"]


def test_objects_in_a_table_of_a_survey_become_texts(tmp_path: Path) -> None:
    objects = MaskedColumn(["a", None, b"c", "d"], dtype=object, mask=[0, 0, 0, 1])
    table = tidied(Table({"flag": objects}), "a survey")
    table.meta.clear()
    table.write(tmp_path / "cat.parquet")
    assert list(Table.read(tmp_path / "cat.parquet")["flag"]) == ["a", "", "c", ""]


@pytest.mark.parametrize("filler", [np.nan, -99.0, 0.0])
def test_errors_without_any_value_are_not_used(filler: float) -> None:
    table = stars()
    table["e_rmag"] = filler
    assert columns_for(table, "r", "stars").mag_err is None


def test_single_missing_errors_are_filled() -> None:
    table = stars()
    table["e_rmag"] = [0.01, np.nan, -99.0]
    assert columns_for(table, "r", "stars").mag_err == "e_rmag"
    assert list(table["e_rmag"]) == [0.01, 0.1, 0.1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "cannot be read as a table"),
        ("ra,dec,rmag\n", "is empty"),
        ("x,y,rmag\n1,2,3\n", "has no columns 'ra' and 'dec'"),
        ("ra,dec,name\n1,2,3\n", "has no magnitudes"),
    ],
)
def test_what_is_no_catalogue_is_refused_in_one_sentence(
    content: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "stars.csv"
    path.write_text(content)
    with pytest.raises(Permanent) as refusal:
        read_catalogue(path, "r", ANYWHERE)
    assert reason in str(refusal.value) and "\n" not in str(refusal.value)


def test_catalogue_lies_in_the_task_or_the_data_folder_and_nowhere_else(tmp_path: Path) -> None:
    task, data = tmp_path / "task", tmp_path / "data"
    task.mkdir()
    (data / "deep").mkdir(parents=True)
    (tmp_path / "secret.csv").write_text("ra,dec,rmag\n1,2,3\n")
    (data / "deep" / "stars.csv").write_text("ra,dec,rmag\n1,2,3\n")
    (data / "link.csv").symlink_to(tmp_path / "secret.csv")
    settings = Settings(_env_file=None, data_path=data, tasks_path=data / "tasks")
    (data / "tasks" / "8").mkdir(parents=True)
    (data / "tasks" / "8" / "secret.csv").write_text("ra,dec,rmag\n1,2,3\n")
    (data / "task.csv").symlink_to("tasks/8/secret.csv")
    assert find_catalogue("deep/stars.csv", task, settings).name == "stars.csv"
    (data / "loop.csv").symlink_to("loop.csv")
    outside = ("../secret.csv", str(tmp_path / "secret.csv"), "link.csv")
    others = ("tasks/8/secret.csv", "task.csv")
    for name in (*outside, *others, "nothing.csv", "", "loop.csv", "a\0b", "x" * 300, "x" * 5000):
        with pytest.raises(Permanent):
            find_catalogue(name, task, settings)
