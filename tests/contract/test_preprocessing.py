"""Are images changed and tasks duplicated as STDWeb's clients ask for it?"""

from __future__ import annotations

import io
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from werkzeug.test import TestResponse

from gateway.api import preprocessing
from gateway.followups.indexing import index
from gateway.models import AuditEntry, Task
from skyrelay.messages import Outcome, RunStage
from skyrelay.records import SkyField
from skyrelay.stages import ARCHIVE
from tests.support.gateway import Bench, Caller, opened
from tests.support.measured import Field, measured_task
from tests.support.processes import wait_until


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks waits for as long as the machine takes to play the stage."""
    monkeypatch.setattr(preprocessing, "PATIENCE", 300.0)


def with_image(caller: Caller, content: bytes = b"image", **fields: Any) -> int:
    task = caller.new_task(**fields)
    put(caller, task, "image.fits", content)
    return task


def put(caller: Caller, task: int, name: str, content: bytes) -> None:
    file = {"file": (io.BytesIO(content), name)}
    assert caller.post(f"tasks/{task}/files/{name}", data=file).status_code == 201


def change(
    bench: Bench, caller: Caller, task: int, what: str, *outcome: Any, **body: Any
) -> tuple[TestResponse, RunStage]:
    """The answer to a request, while the stage is played; and the command that the stage got."""
    commands: list[RunStage] = []

    def asked() -> bool:
        commands.extend(bench.commands())
        return bool(commands)

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(caller.post, f"tasks/{task}/{what}/", json=body)
        assert wait_until(asked)
        bench.hear(bench.finished(commands[0], *outcome))
        return answer.result(), commands[0]


@pytest.mark.parametrize(
    ("what", "status", "body", "config"),
    [
        ("fix", "fixed", {}, {}),
        (
            "crop",
            "cropped",
            {"x1": 5, "y2": "-7"},
            {"crop_x1": 5, "crop_y1": None, "crop_x2": None, "crop_y2": -7},
        ),
        ("destripe", "destriped", {}, {"destripe_direction": None}),
        ("destripe", "destriped", {"direction": "vertical"}, {"destripe_direction": "vertical"}),
    ],
)
def test_a_change_is_a_run_of_one_step_and_is_answered_at_its_end(
    bench: Bench, alice: Caller, what: str, status: str, body: dict[str, Any], config: Any
) -> None:
    task = with_image(alice)
    answer, command = change(bench, alice, task, what, **body)
    assert (answer.status_code, answer.json) == (200, {"id": task, "status": status})
    assert command.step == what
    assert alice.get(f"tasks/{task}/").json["config"] == config
    assert bench.state(task) == f"{what}_done"


@pytest.mark.parametrize(
    ("what", "body", "field"),
    [
        ("crop", {"x1": "left"}, "x1"),
        ("crop", {"y2": 1.5}, "y2"),
        ("crop", {"x2": 10**9}, "x2"),
        ("destripe", {"direction": "diagonal"}, "direction"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_by_the_name_of_the_field(
    bench: Bench, alice: Caller, what: str, body: dict[str, Any], field: str
) -> None:
    answer = alice.post(f"tasks/{with_image(alice)}/{what}/", json=body)
    assert answer.status_code == 400
    assert list(answer.json) == [field]
    assert bench.outbox() == []


@pytest.mark.parametrize("what", ["fix", "crop", "destripe"])
def test_a_change_needs_an_image_the_right_and_no_open_run(
    bench: Bench, alice: Caller, eve: Caller, what: str
) -> None:
    empty = alice.new_task()
    assert alice.post(f"tasks/{empty}/{what}/").status_code == 404
    assert alice.post(f"tasks/{empty + 99}/{what}/").status_code == 404
    task = with_image(alice)
    assert eve.post(f"tasks/{task}/{what}/").status_code == 403
    alice.process(task, "inspect")
    answer = alice.post(f"tasks/{task}/{what}/")
    assert (answer.status_code, answer.json) == (409, {"error": "Task is already processing"})


def test_why_a_change_failed_is_said(bench: Bench, alice: Caller) -> None:
    task = with_image(alice)
    reason = "Nothing would be left of the image."
    answer, _ = change(bench, alice, task, "crop", Outcome.FAILED, reason)
    assert (answer.status_code, answer.json) == (400, {"error": reason})
    answer, _ = change(bench, alice, task, "fix", Outcome.CANCELLED)
    assert answer.status_code == 409


def test_a_change_that_takes_long_is_answered_with_the_run_to_watch(
    bench: Bench, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocessing, "PATIENCE", 0.0)
    task = with_image(alice)
    answer = alice.post(f"tasks/{task}/destripe/")
    assert answer.status_code == 202
    assert answer.json["status"] == "running"
    assert answer.json["celery_id"] == alice.get(f"tasks/{task}/state/").json["celery_id"]


def test_changes_that_take_long_leave_threads_for_others(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocessing, "PATIENCE", 3600.0)
    with opened(tmp_path, database_url, skyrelay_web_threads=3) as gateway:
        bench = Bench(gateway)
        callers = [bench.caller(name) for name in ("alice", "bob")]
        tasks = [with_image(caller) for caller in callers]
        commands: list[RunStage] = []

        def both_have_begun() -> bool:
            commands.extend(bench.commands())
            return len(commands) == 2

        with ThreadPoolExecutor(2) as pool:
            answers = [
                pool.submit(caller.post, f"tasks/{task}/crop/", json={"x1": 5})
                for caller, task in zip(callers, tasks, strict=True)
            ]
            first, _ = wait(answers, 60.0, FIRST_COMPLETED)
            assert wait_until(both_have_begun)
            bench.hear(*(bench.finished(command) for command in commands))
            assert [answer.result().status_code for answer in first] == [202]
            assert sorted(answer.result().status_code for answer in answers) == [200, 202]
        bench.close()


def test_a_new_image_has_no_original_of_another_one(bench: Bench, alice: Caller) -> None:
    task = with_image(alice)
    put(alice, task, "image.orig.fits", b"original")
    put(alice, task, "image.fits", b"another image")
    names = [entry["name"] for entry in alice.get(f"tasks/{task}/files/").json]
    assert names == ["image.fits"]


def test_cleanup_takes_the_position_back(bench: Bench, alice: Caller) -> None:
    task = with_image(alice)
    alice.post(f"tasks/{task}/process/", json={"steps": ["inspect", "cleanup"]})
    field = SkyField(ra=10.0, dec=20.0, radius=0.1)
    bench.hear(bench.finished(bench.command(), field=field))
    assert bench.state(task) == "inspect_done"
    bench.hear(bench.finished(bench.command()))
    assert bench.state(task) == "cleanup_done"
    with bench.gateway.database.reading() as session:
        assert session.get_one(Task, task).ra is None


def test_images_of_tasks_that_one_may_not_see_are_not_stacked(
    bench: Bench, alice: Caller, eve: Caller
) -> None:
    hidden, own, other = with_image(alice), with_image(eve), eve.new_task()
    for config, status in (
        ({"stack_filenames": [f"tasks/{own}/image.fits", f"tasks/{hidden}/image.fits"]}, 403),
        ({"stack_filenames": [f"tasks/{own}/image.fits", "tasks/9999/image.fits"]}, 404),
        ({"stack_filenames": [f"tasks/{own}/image.fits", "a.fits"]}, 200),
    ):
        body = {"steps": ["stack"], "config": config}
        assert eve.post(f"tasks/{other}/process/", json=body).status_code == status
    # What is in the configuration already is looked at just so.
    third = eve.new_task(config={"stack_filenames": [f"tasks/{hidden}/image.fits", "a.fits"]})
    assert eve.process(third, "stack").status_code == 403


def test_objects_of_tasks_that_one_may_not_see_are_not_compared(
    bench: Bench, alice: Caller, eve: Caller
) -> None:
    hidden, own, other = with_image(alice), with_image(eve), eve.new_task()
    for tasks, status in (([own, hidden], 403), ([own, 9999], 404), ([own], 200)):
        body = {"steps": ["simple_transients"], "config": {"simple_others": tasks}}
        assert eve.post(f"tasks/{other}/process/", json=body).status_code == status


def test_a_duplicate_is_a_task_of_ones_own(bench: Bench, alice: Caller, bob: Caller) -> None:
    task = with_image(alice, title="M31", config={"sn": 3}, groups=["observers"])
    put(alice, task, "candidates/a.cutout", b"cut")
    answer = bob.post(f"tasks/{task}/duplicate/")
    assert answer.status_code == 201
    copy = answer.json
    assert copy["id"] != task
    assert (copy["title"], copy["state"], copy["user"]) == ("M31 (copy)", "uploaded", "bob")
    assert (copy["groups"], copy["config"], copy["celery_id"]) == ([], {"sn": 3.0}, None)
    put(alice, task, "image.fits", b"changed")
    for name, content in (("image.fits", b"image"), ("candidates/a.cutout", b"cut")):
        with bob.get(f"tasks/{copy['id']}/files/{name}") as file:
            assert file.data == content
    assert alice.get(f"tasks/{copy['id']}/").status_code == 403
    with bench.gateway.database.reading() as session:
        entry = session.scalar(select(AuditEntry).where(AuditEntry.action == "task_duplicate"))
    assert entry is not None


def test_a_duplicate_without_products_begins_anew(bench: Bench, alice: Caller) -> None:
    task = with_image(alice)
    for path in ("custom_mask.fits", "image.wcs", "objects.parquet", "candidates/a.cutout"):
        put(alice, task, path, b"x")
    copy = alice.post(f"tasks/{task}/duplicate/", json={"products": False}).json
    assert copy["state"] == "duplicated"
    files = {entry["name"] for entry in alice.get(f"tasks/{copy['id']}/files/").json}
    assert files == {"image.fits", "custom_mask.fits", "image.wcs"}


def test_an_archived_task_says_so_and_leaves_the_light_curves(bench: Bench, alice: Caller) -> None:
    seen = Field(objects=[(10.0, 20.0, 17.0)])
    task = measured_task(bench, alice, seen)
    index(bench.gateway)
    where = "lightcurve/?ra=10&dec=20&limits=0"
    assert len(alice.get(where).json["results"]) == 1

    def remove(folder: Path) -> None:
        (folder / "objects.parquet").unlink()

    bench.run(alice, task, ARCHIVE.step, make=remove)
    assert bench.state(task) == "archive"
    index(bench.gateway)
    assert alice.get(where).json["results"] == []
    about = alice.get(f"tasks/{task}/").json
    assert alice.get("tasks/", query_string={"state": "archive"}).json[0]["id"] == about["id"]
    assert len(alice.get("coverage/?ra=10&dec=20").json["results"]) == 1


def test_only_who_may_edit_a_task_duplicates_it(bench: Bench, alice: Caller, eve: Caller) -> None:
    task = with_image(alice)
    assert eve.post(f"tasks/{task}/duplicate/").status_code == 403
    assert eve.post(f"tasks/{task + 99}/duplicate/").status_code == 404
    assert alice.post(f"tasks/{alice.new_task()}/duplicate/").json["title"] == "(copy)"
