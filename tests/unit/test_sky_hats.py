"""Is a whole survey on disk read piece by piece, and is one made of tables as it should be?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from click.testing import CliRunner
from stdpipe.astrometry import spherical_distance

from skyrelay.cli import main
from skyrelay.errors import Permanent
from skyrelay.settings import Settings, get_settings
from skyrelay.sky import hats
from skyrelay.sky.hats_import import import_tables
from skyrelay.sky.healpix import Cone, cells_in, cells_of
from skyrelay.sky.local_catalogue import find_catalogue, read_catalogue

ROWS = 1_200_000


def sky(rows: int, seed: int = 1) -> Table:
    """Stars all over the sky, half of them crowded around one place."""
    rng = np.random.default_rng(seed)
    ra = rng.uniform(0, 360, rows)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, rows)))
    crowd = slice(rows // 2)
    ra[crowd] = (266 + rng.normal(0, 3, rows // 2)) % 360
    dec[crowd] = -29 + rng.normal(0, 3, rows // 2)
    table = Table({"ra": ra, "dec": dec, "rmag": rng.uniform(10, 20, rows)})
    table["e_rmag"] = 0.01
    table["e_ra"] = table["e_dec"] = np.full(rows, 0.05)
    for name, unit in (("ra", "deg"), ("dec", "deg"), ("rmag", "mag"), ("e_ra", "mas")):
        table[name].unit = unit
    return table


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Table]:
    """A survey of more than a million stars, made of two files, and what went in."""
    root = tmp_path_factory.mktemp("survey")
    whole = sky(ROWS)
    whole[: ROWS // 2].write(root / "one.parquet")
    whole[ROWS // 2 :].write(root / "two.fits")
    made = import_tables([root / "one.parquet", root / "two.fits"], root / "survey", rows=50_000)
    assert made.rows == ROWS and made.partitions > 20
    return root / "survey", whole


@pytest.mark.parametrize(
    "cone",
    [
        Cone(266.0, -29.0, 0.5),
        Cone(0.02, 40.0, 1.0),
        Cone(100.0, 89.7, 1.0),
        Cone(10.0, -89.9, 0.5),
        Cone(45.0, 0.0, 3.0),
    ],
    ids=["crowded", "across zero", "north pole", "south pole", "equator"],
)
def test_a_cone_has_every_star_that_is_in_it(survey: tuple[Path, Table], cone: Cone) -> None:
    folder, whole = survey
    found = read_catalogue(folder, "r", cone)
    inside = spherical_distance(cone.ra, cone.dec, whole["ra"], whole["dec"]) < cone.radius
    near = spherical_distance(cone.ra, cone.dec, found["RAJ2000"], found["DEJ2000"]) < cone.radius
    assert near.sum() == inside.sum() > 0
    assert np.allclose(np.sort(found["rmag"][near]), np.sort(whole["rmag"][inside]))
    assert len(found) < ROWS / 3


def test_units_come_back(survey: tuple[Path, Table]) -> None:
    found = read_catalogue(survey[0], "r", Cone(266.0, -29.0, 0.1))
    assert found["e_RAJ2000"][0] == pytest.approx(0.05e-3 / 3600)
    assert found["e_DEJ2000"][0] == pytest.approx(0.05 / 3600)


def test_only_partitions_that_the_field_touches_are_read(
    survey: tuple[Path, Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    read = pq.read_table

    def reading(path: Path, **options: object) -> object:
        opened.append(path.name)
        return read(path, **options)

    monkeypatch.setattr(pq, "read_table", reading)
    read_catalogue(survey[0], "r", Cone(266.0, -29.0, 0.1))
    assert 1 <= len(opened) <= 4


def test_partitions_are_laid_out_as_hats_wants_it(survey: tuple[Path, Table]) -> None:
    folder, _ = survey
    listed = Table.read(folder / "partition_info.csv", format="ascii.csv")
    for row in listed:
        path = folder / "dataset" / hats.partition_path(int(row["Norder"]), int(row["Npix"]))
        content = pq.read_table(path, partitioning=None)
        assert content.num_rows <= 50_000
        cells = cells_of(content["ra"].to_numpy(), content["dec"].to_numpy(), int(row["Norder"]))
        assert set(cells) == {row["Npix"]} and f"Dir={row['Dir']}/" in path.as_posix()
        index = content["_healpix_29"].to_numpy()
        assert np.all(np.diff(index) >= 0)
    files = list((folder / "dataset").rglob("*.parquet"))
    assert len(files) == len(listed)


def test_a_place_without_stars_gives_none(tmp_path: Path) -> None:
    sky(2000)[:1000].write(tmp_path / "stars.fits")
    import_tables([tmp_path / "stars.fits"], tmp_path / "survey", rows=1000)
    assert len(read_catalogue(tmp_path / "survey", "r", Cone(90.0, 60.0, 0.1))) == 0


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_PATH", str(tmp_path / "data"))
    get_settings.cache_clear()
    yield tmp_path / "data"  # type: ignore[misc]
    get_settings.cache_clear()


def test_the_command_makes_a_catalogue_that_tasks_can_name(data: Path, tmp_path: Path) -> None:
    table = Table(
        {"RA": ["10:00:00", "10:00:02"], "Dec": ["+10:00:00", "-0:30:00"], "gmag": [1.0, 2]}
    )
    table.write(tmp_path / "mine.csv")
    done = CliRunner().invoke(
        main, ["catalogue", "import", "sets/mine", str(tmp_path / "mine.csv")]
    )
    assert done.exit_code == 0 and "2 entries in 1 partitions" in done.output, done.output
    path = find_catalogue("sets/mine", tmp_path / "task", Settings(_env_file=None, data_path=data))
    stars = read_catalogue(path, "g", Cone(150.0, 10.0, 0.1))
    assert list(stars["gmag"]) == [1.0] and stars["RAJ2000"][0] == pytest.approx(150.0)
    assert {each.name for each in (data / "sets").iterdir()} == {"mine"}


def test_the_command_replaces_only_when_told_to(data: Path, tmp_path: Path) -> None:
    def run(*options: str, rows: int) -> str:
        sky(rows).write(tmp_path / "stars.fits", overwrite=True)
        command = ["catalogue", "import", "mine", str(tmp_path / "stars.fits"), *options]
        return CliRunner().invoke(main, command).output

    assert "1000 entries" in run(rows=1000)
    assert "is there already" in run(rows=500)
    assert "500 entries" in run("--replace", rows=500)
    assert [each.name for each in data.iterdir()] == ["mine"]
    assert not (data / "mine" / "replaced").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("name,colour\nVega,blue\n", "no columns 'ra' and 'dec'"),
        ("ra,dec,rmag\n", "empty"),
        ("ra,dec,rmag\nnan,nan,3\n", "no entries with a position"),
    ],
)
def test_a_table_that_will_not_do_leaves_nothing(
    content: str, sentence: str, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "stars.csv").write_text(content)
    done = CliRunner().invoke(main, ["catalogue", "import", "mine", str(tmp_path / "stars.csv")])
    assert done.exit_code == 1 and sentence in done.output
    assert not list(data.iterdir())


@pytest.mark.parametrize("name", ["../mine", "/tmp/mine"])
def test_a_catalogue_stays_in_the_data_folder(name: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "stars.csv").write_text("ra,dec,rmag\n1,2,3\n")
    done = CliRunner().invoke(main, ["catalogue", "import", name, str(tmp_path / "stars.csv")])
    assert done.exit_code == 2 and "must lie in the data folder" in done.output


def test_a_damaged_partition_is_told(tmp_path: Path) -> None:
    sky(100).write(tmp_path / "stars.fits")
    import_tables([tmp_path / "stars.fits"], tmp_path / "survey")
    for partition in (tmp_path / "survey").rglob("Npix=*.parquet"):
        partition.write_bytes(b"PAR1 and no more")
    with pytest.raises(Permanent, match="cannot be read"):
        read_catalogue(tmp_path / "survey", "r", Cone(10.0, 10.0, 1.0))


@pytest.mark.parametrize("radius", [0.01, 0.1, 0.37, 1.0, 5.0])
def test_a_rounded_cone_holds_the_given_one_and_is_not_much_larger(radius: float) -> None:
    rng = np.random.default_rng(2)
    for ra, dec in zip(rng.uniform(0, 360, 50), rng.uniform(-90, 90, 50), strict=True):
        rounded = Cone(ra, dec, radius).rounded()
        away = float(spherical_distance(ra, dec, rounded.ra, rounded.dec))
        assert away + radius <= rounded.radius <= 1.6 * radius


def test_cells_of_a_cone_hold_all_its_positions() -> None:
    rng = np.random.default_rng(3)
    cone = Cone(359.9, 66.0, 2.0)
    ra, dec = rng.uniform(350, 370, 20000) % 360, rng.uniform(63, 69, 20000)
    inside = spherical_distance(cone.ra, cone.dec, ra, dec) < cone.radius
    assert set(cells_of(ra[inside], dec[inside], 7)) <= cells_in(cone, 7)
