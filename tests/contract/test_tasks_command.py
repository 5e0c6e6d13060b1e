"""What can an operator do with tasks at the command line, beside the API?"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from click.testing import CliRunner, Result
from sqlalchemy import select

from gateway.models import AuditEntry, Preset, Task
from skyrelay.cli import main
from skyrelay.imaging.votable import write_votable
from skyrelay.settings import get_settings
from skyrelay.store import files
from tests.support.gateway import Bench, Caller

Command = Callable[..., Result]

_SETTINGS = ("database_url", "tasks_path", "data_path", "secret_key")


@pytest.fixture
def tasks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """``skyrelay tasks`` on the installation of the test."""
    for name in _SETTINGS:
        monkeypatch.setenv(name.upper(), str(getattr(bench.gateway.settings, name)))
    get_settings.cache_clear()
    yield lambda *words: CliRunner().invoke(main, ["tasks", *map(str, words)])
    get_settings.cache_clear()


def put(bench: Bench, task: int, name: str, table: Table) -> None:
    write_votable(table, bench.store.folder(task) / name)


def test_tasks_of_all_users_are_listed_in_the_order_asked_for(
    tasks: Command, alice: Caller, eve: Caller
) -> None:
    alice.new_task("b.fits"), eve.new_task("[a].fits"), alice.new_task("c.fits")
    lines = tasks("list", "--sort", "original_name").stdout.splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["c.fits", "b.fits", "[a].fits"]
    found = json.loads(tasks("list", "--json", "--user", "alice", "-s", "id").stdout)
    assert [task["original_name"] for task in found] == ["c.fits", "b.fits"]
    assert json.loads(tasks("list", "--json", "--state", "running").stdout) == []


def test_images_are_imported_with_a_preset_and_run(
    tasks: Command, bench: Bench, alice: Caller, tmp_path: Path
) -> None:
    (bench.gateway.settings.data_path / "custom_mask.fits").write_bytes(b"mask")
    with bench.gateway.database.writing() as session:
        session.add(
            Preset(name="fast", config={"sn": 9.0, "minarea": 3}, files=["custom_mask.fits"])
        )
    for name in ("a.fits", "b.fits"):
        (tmp_path / name).write_bytes(name.encode())
    answer = tasks(
        *("import", tmp_path / "a.fits", tmp_path / "b.fits", "--user", "alice"),
        *("--preset", "fast", "-c", "sn=4", "-r", "inspect", "-r", "photometry"),
    )
    assert answer.exit_code == 0, answer.output
    assert [command.step for command in bench.commands()] == ["inspect", "inspect"]
    first, second = sorted(alice.get("tasks/").json, key=lambda task: task["id"])
    assert (first["original_name"], second["original_name"]) == ("a.fits", "b.fits")
    whole = alice.get(f"tasks/{first['id']}/").json
    assert (whole["user"], whole["config"]) == ("alice", {"sn": 4.0, "minarea": 3})
    for name, content in (("image.fits", b"a.fits"), ("custom_mask.fits", b"mask")):
        assert (bench.store.folder(first["id"]) / name).read_bytes() == content
    with bench.gateway.database.reading() as session:
        actions = session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)).all()
    assert actions == ["task_create", "processing_start"] * 2


def test_a_preset_may_be_a_file_and_what_is_imported_may_wait(
    tasks: Command, alice: Caller, tmp_path: Path
) -> None:
    (tmp_path / "a.fits").write_bytes(b"image")
    (tmp_path / "preset.json").write_text('{"sn": 6, "observer": "Tycho"}')
    answer = tasks(
        "import", tmp_path / "a.fits", "-u", "alice", "--preset", tmp_path / "preset.json"
    )
    assert "observer: no stage reads this parameter" in answer.stderr
    (task,) = alice.get("tasks/").json
    assert task["state"] == "imported"
    assert alice.get(f"tasks/{task['id']}/").json["config"]["sn"] == 6


def test_tasks_are_run_stopped_and_deleted(
    tasks: Command, bench: Bench, alice: Caller, tmp_path: Path
) -> None:
    one, two = alice.new_task(), alice.new_task()
    assert tasks("run", one, two, "-r", "inspect", "-c", "sn=3").exit_code == 0
    assert {command.task for command in bench.commands()} == {one, two}
    assert alice.get(f"tasks/{one}/").json["config"] == {"sn": 3.0}
    again = tasks("run", one, "-r", "inspect")
    assert (again.exit_code, again.stderr) == (1, f"{one}: It is being processed already.\n")
    assert tasks("cancel", one).stdout == f"{one}: cancelled\n"
    assert (bench.state(one), bench.state(two)) == ("cancelled", "running")
    assert tasks("cancel", "--all").stdout == "1 runs are cancelled.\n"
    assert bench.state(two) == "cancelled"
    # One that is not there does not keep the others from being deleted.
    answer = tasks("delete", one, 999, two)
    assert (answer.exit_code, answer.stderr) == (1, "999: There is no such task.\n")
    assert alice.get("tasks/").json == []
    assert not bench.store.folder(one).exists()


def test_photometry_of_targets_is_printed_for_skyportal(
    tasks: Command, bench: Bench, alice: Caller
) -> None:
    task = alice.new_task(config={"time": "2026-01-01T12:00:00"})
    columns = {
        "mag_calib": [17.1234, 20.5, np.nan],
        "mag_calib_err": [0.01, 0.5, np.nan],
        "mag_limit": [20.0, 20.1, np.nan],
        "mag_filter_name": ["rmag", "Vmag", "BPmag"],
    }
    put(bench, task, "target.vot", Table(columns))
    unmeasured = alice.new_task()
    answer = tasks("skyportal", task, unmeasured)
    assert answer.stdout.splitlines() == [
        "mjd,mag,magerr,limiting_mag,magsys,filter",
        "61041.500000,17.123,0.010,20.000,ab,sdssr",
        "61041.500000,,,20.100,vega,bessellv",
        "61041.500000,,,,ab,gaia::gbp",
    ]
    assert (answer.exit_code, answer.stderr) == (
        1,
        f"{unmeasured}: No target of it was measured.\n",
    )


def test_positions_that_are_not_known_are_found_out(
    tasks: Command, bench: Bench, alice: Caller
) -> None:
    known, blank, empty, running = (alice.new_task() for _ in range(4))
    header = fits.Header(
        {
            **{"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0},
            **{"CRPIX1": 32.5, "CRPIX2": 32.5, "CDELT1": -0.001, "CDELT2": 0.001},
        }
    )
    pixels = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    for task, with_header in ((known, header), (blank, None), (running, header)):
        fits.writeto(bench.store.folder(task) / "image.fits", pixels, with_header)
    alice.process(running, "inspect")
    answer = tasks("upgrade")
    assert answer.stdout == f"{known}: 150.0000 +2.0000\n{blank}: no usable coordinates\n"
    assert answer.stderr.splitlines() == [
        f"{empty}: There is no image.fits.",
        f"{running}: It is being processed: try again when that has ended.",
    ]
    with bench.gateway.database.reading() as session:
        task = session.get_one(Task, known)
    assert (task.ra, task.dec) == pytest.approx((150.0, 2.0))
    assert task.pixel_scale == pytest.approx(0.001)
    assert task.radius == pytest.approx(0.0446, rel=0.01) and task.moc
    # What is known is not looked for again.
    assert str(known) + ":" not in tasks("upgrade").output


def test_votables_of_old_versions_become_parquet(
    tasks: Command, bench: Bench, alice: Caller
) -> None:
    task, damaged = alice.new_task(), alice.new_task()
    folder = bench.store.folder(task)
    put(bench, task, "objects.vot", Table({"ra": [1.0, 2.0], "name": ["a", "b"]}))
    put(bench, task, "cat.vot", Table({"rmag": [1.0]}))
    Table({"rmag": [5.0]}).write(folder / "cat.parquet")
    (bench.store.folder(damaged) / "objects.vot").write_text("no table")
    answer = tasks("migrate-votables")
    assert answer.stdout == f"{task}: objects.parquet\n"
    assert answer.exit_code == 1
    assert answer.stderr.startswith(f"{damaged}: objects.vot cannot be read")
    assert (bench.store.folder(damaged) / "objects.vot").exists()
    objects = Table.read(folder / "objects.parquet")
    assert (list(objects["ra"]), list(objects["name"])) == ([1.0, 2.0], ["a", "b"])
    assert Table.read(folder / "cat.parquet")["rmag"][0] == 5.0
    assert not list(folder.glob("*.vot"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("import", __file__), "Missing option '-u'"),
        (("import", __file__, "-u", "nobody"), "There is no user nobody"),
        (("import", __file__, "-u", "alice", "--preset", "gone"), "neither a file nor a preset"),
        (("import", __file__, "-u", "alice", "-c", "gian=2"), "did you mean gain?"),
        (("import", __file__, "-u", "alice", "-r", "dance"), "'dance' is not one of"),
        (("run", "1"), "Missing option '-r'"),
        (("cancel",), "Name tasks, or --all"),
        (("delete", "x"), "'x' is not a valid integer"),
        (("list", "--sort", "beauty"), "'beauty' is not one of"),
    ],
)
def test_a_slip_is_said_in_a_sentence(
    tasks: Command, alice: Caller, words: tuple[str, ...], sentence: str
) -> None:
    answer = tasks(*words)
    assert answer.exit_code in (1, 2)
    assert sentence in answer.stderr
    assert alice.get("tasks/").json == []


def test_a_backup_with_a_task_whose_files_are_missing_ends_with_1_and_names_it(
    tasks: Command, bench: Bench, alice: Caller
) -> None:
    whole, broken = alice.new_task(), alice.new_task()
    files.remove(bench.store.folder(broken).resolve())
    done = tasks("backup")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{broken}: is not in the backup: ")
    with tarfile.open(fileobj=io.BytesIO(done.stdout_bytes)) as archive:
        names = archive.getnames()
    assert str(whole) in names and str(broken) not in names
    assert names[-1] == ".skyrelay-store"


def test_a_backup_of_a_bucket_is_refused(
    tasks: Command, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKS_URL", "s3://tasks")
    done = tasks("backup")
    assert done.exit_code == 1
    assert "in a bucket" in done.stderr
