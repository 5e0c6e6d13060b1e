"""Do programs that were written for STDWeb work when only the address is another one?

Each test does what such a program does, request by request.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from gateway.models import Preset
from skyrelay.messages import Outcome
from tests.support.gateway import PASSWORD, Bench, Caller

IMAGE = b"SIMPLE  =                    T" + b" " * 2850


def _file(name: str = "m51.fits", content: bytes = IMAGE) -> tuple[io.BytesIO, str]:
    return io.BytesIO(content), name


def _work(bench: Bench, outcome: Outcome = Outcome.DONE) -> None:
    """Let the stages do all that waits, until nothing does."""
    while commands := bench.commands():
        for command in commands:
            bench.hear(bench.started(command), bench.finished(command, outcome))


def test_the_documented_curl_calls(bench: Bench, alice: Caller) -> None:
    http = bench.app.test_client()
    login = http.post("/api/auth/token/", data={"username": "alice", "password": PASSWORD})
    key = {"Authorization": f"Token {login.json['token']}"}
    form = {"file": _file(), "title": "Test", "config": '{"target": "M51", "sn": 3}'}
    made = http.post("/api/tasks/", data=form, headers=key)
    assert made.status_code == 201
    task = made.json["id"]
    assert "state" not in made.json and made.json["config"] == {"target": "M51", "sn": 3.0}
    body = json.dumps({"steps": ["inspect", "photometry"], "config": {"sn": 5}})
    begun = http.post(
        f"/api/tasks/{task}/process/", data=body, content_type="application/json", headers=key
    )
    assert begun.json["state"] == "running" and begun.json["celery_id"]
    assert http.get(f"/api/tasks/{task}/state/", headers=key).json["celery_id"]
    _work(bench)
    assert http.get(f"/api/tasks/{task}/state/", headers=key).json == {
        "id": task, "state": "photometry_done", "celery_id": None
    }  # fmt: skip
    with http.get(f"/api/tasks/{task}/files/image.fits", headers=key) as answer:
        assert answer.data == IMAGE
    changed = http.patch(f"/api/tasks/{task}/", json={"config": {"sn": 4}}, headers=key)
    assert changed.json["config"] == {"sn": 4.0}
    assert http.delete(f"/api/tasks/{task}/", headers=key).status_code == 204


def test_the_documented_python_client(bench: Bench, alice: Caller) -> None:
    config = {"target": "M51", "use_color": True}
    refused = alice.post("tasks/", data={"file": _file(), "config": str(config)})
    assert refused.status_code == 400 and "double quotes" in refused.json["config"][0]
    task = alice.post("tasks/", data={"file": _file(), "config": json.dumps(config)}).json["id"]
    alice.post(f"tasks/{task}/process/", json={"steps": ["inspect", "subtraction"], "config": {}})
    seen = []
    while not seen or seen[-1]["celery_id"] is not None:
        seen.append(alice.get(f"tasks/{task}/state/").json)
        for command in bench.commands():
            bench.hear(bench.started(command), bench.finished(command, product="candidates.vot"))
    assert seen[-1]["state"] == "subtraction_done"
    names = [entry["name"] for entry in alice.get(f"tasks/{task}/files/").json]
    assert "candidates.vot" in names
    copy = alice.post(f"tasks/{task}/duplicate/")
    assert (copy.status_code, copy.json["title"]) == (201, "(copy)")


def test_a_bot_that_stacks_what_it_uploads(bench: Bench, alice: Caller) -> None:
    made = alice.post("tasks/", json={"original_name": "stack.fits", "title": "GRB 260301A"})
    task = made.json["id"]
    for number in range(3):
        path = f"tasks/{task}/files/frame_{number}.fits"
        assert alice.post(path, data={"file": _file(f"frame_{number}.fits")}).status_code == 201
    names = [f"tasks/{task}/frame_{number}.fits" for number in range(3)]
    body = {
        "steps": ["stack", "inspect", "photometry"],
        "config": {"stack_filenames": names, "target": "150.1 2.2"},
    }
    assert alice.post(f"tasks/{task}/process/", json=body).status_code == 200
    states = []
    while not states or not (states[-1] == "photometry_done" or "failed" in states[-1]):
        answer = alice.get(f"tasks/{task}", headers={"Accept": "application/json"})
        assert answer.status_code == 200
        states.append(answer.json["state"])
        for command in bench.commands():
            assert bench.store.read_config(command.config)["stack_filenames"] == names
            bench.hear(bench.started(command), bench.finished(command))
    assert states[-1] == "photometry_done"


def test_the_bot_hears_of_a_failure(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    alice.post(f"tasks/{task}/process/", json={"steps": ["inspect", "photometry"]})
    _work(bench, Outcome.FAILED)
    assert alice.get(f"tasks/{task}").json["state"] == "inspect_failed"


def test_the_images_of_others_are_not_stacked(alice: Caller, eve: Caller) -> None:
    task = alice.new_task()
    alice.post(f"tasks/{task}/files/a.fits", data={"file": _file()})
    config = {"stack_filenames": [f"tasks/{task}/a.fits"] * 2}
    own = eve.new_task()
    body = {"steps": ["stack"], "config": config}
    assert eve.post(f"tasks/{own}/process/", json=body).status_code == 403


def test_a_client_that_sends_forms_and_asks_for_the_state(bench: Bench, alice: Caller) -> None:
    form: dict[str, Any] = {
        "file": _file("20260301_r.fits"),
        "title": "",
        "config": json.dumps({"target": "10:00:24 +02:12", "cat_name": "ps1"}),
        "groups": ["observers"],
    }
    made = alice.post("tasks/", data=form, content_type="multipart/form-data")
    task = made.json["id"]
    assert made.json["groups"] == ["observers"]
    steps = {"steps": ["inspect", "photometry"]}
    begun = alice.post(f"tasks/{task}/process/", data=steps)
    assert begun.json["steps"] == ["inspect", "photometry"]
    assert alice.get(f"tasks/{task}/state/").json["state"] in ("running", "inspect")
    again = alice.post(f"tasks/{task}/process/", data=steps)
    assert (again.status_code, again.json) == (409, {"error": "Task is already processing"})
    _work(bench)
    assert alice.get(f"tasks/{task}/state/").json["state"] == "photometry_done"


def test_a_task_with_steps_is_processed_at_once(bench: Bench, alice: Caller) -> None:
    made = alice.post("tasks/", data={"file": _file(), "steps": ["inspect", "photometry"]})
    assert made.status_code == 201
    assert made.json["celery_id"] == str(bench.command().run)
    wrong = alice.post("tasks/", json={"original_name": "a", "steps": ["dance"]})
    assert (wrong.status_code, wrong.json["error"]) == (400, "Invalid step: dance")
    assert len(alice.get("tasks/").json) == 1


def test_the_old_upload_makes_a_task_and_processes_it(bench: Bench, alice: Caller) -> None:
    with bench.gateway.database.writing() as session:
        preset = Preset(name="fast", config={"sn": 9.0, "minarea": 3}, files=[])
        session.add(preset)
    form = {
        "file": _file("old.fits"),
        "title": "Old",
        "preset": str(preset.id),
        "target": "M51",
        "sn": "4",
        "template_catalog": "ZTF_DR7",
        "do_inspect": "true",
        "do_subtraction": "on",
        "do_photometry": "false",
    }
    made = alice.post("tasks/upload/", data=form)
    assert made.status_code == 201
    task = made.json["task"]
    assert made.json["message"] and task["original_name"] == "old.fits"
    assert task["config"] == {"sn": 4.0, "minarea": 3, "target": "M51", "template": "ztf"}
    assert task["state"] == "running"
    _work(bench)
    assert alice.get(f"tasks/{task['id']}/").json["state"] == "subtraction_done"


def test_the_old_upload_says_what_is_wrong(alice: Caller) -> None:
    assert alice.post("tasks/upload/", data={"title": "x"}).json == {
        "file": ["No file was submitted."]
    }
    assert alice.post("tasks/upload/", json={"title": "x"}).status_code == 415
    wrong = alice.post("tasks/upload/", data={"file": _file(), "sn": "much"})
    assert wrong.status_code == 400 and "sn" in wrong.json
    assert alice.post("tasks/upload/", data={"file": _file(), "preset": "77"}).status_code == 400
    assert alice.get("tasks/").json == []


def test_the_old_actions(bench: Bench, alice: Caller, eve: Caller) -> None:
    task = alice.new_task()
    answer = alice.post(f"tasks/{task}/action/", json={"action": "photometry_image", "sn": 7})
    assert answer.status_code == 200
    assert (answer.json["task"]["state"], answer.json["task"]["config"]["sn"]) == ("running", 7.0)
    assert bench.command().step == "photometry"
    again = alice.post(f"tasks/{task}/action/", json={"action": "inspect"})
    assert again.status_code == 409
    assert eve.post(f"tasks/{task}/action/", json={"action": "inspect"}).status_code == 403
    unknown = alice.post(f"tasks/{task}/action/", data={"action": "dance"})
    assert unknown.status_code == 400 and "dance" in unknown.json["error"]
    assert alice.post("tasks/999/action/", json={"action": "inspect"}).status_code == 404


def test_the_old_template_upload(alice: Caller, eve: Caller) -> None:
    task = alice.new_task()
    path = f"tasks/{task}/upload_template/"
    assert alice.post(path, data={"template_file": _file("t.fits")}).status_code == 200
    with alice.get(f"tasks/{task}/files/custom_template.fits") as answer:
        assert answer.data == IMAGE
    assert alice.post(path, data={"file": _file()}).json == {"error": "No file provided"}
    assert eve.post(path, data={"template_file": _file()}).status_code == 403


def test_the_old_table_of_tasks(alice: Caller, eve: Caller) -> None:
    task = alice.new_task('=HYPERLINK("http://x")', title='a "quoted", title')
    answer = alice.get("tasks/export.csv")
    assert answer.mimetype == "text/csv"
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["id"], row["title"], row["user"]) == (str(task), 'a "quoted", title', "alice")
    assert row["original_name"].startswith("'=")
    assert list(csv.DictReader(io.StringIO(eve.get("tasks/export.csv").text))) == []
