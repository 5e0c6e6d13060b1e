"""How are tasks made, found, read, changed and deleted?"""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from astropy.io import fits
from sqlalchemy.orm import Query, Session

from gateway.models import AuditEntry, Preset, Task
from gateway.orchestration import janitor
from skyrelay.store import TaskStore
from tests.support.gateway import Bench, Caller

IMAGE = b"not looked at before the first stage"


def _upload(**fields: Any) -> dict[str, Any]:
    return {"data": {"file": (io.BytesIO(IMAGE), "m51.fits"), **fields}}


def _audit(session: Session) -> Query[AuditEntry]:
    return session.query(AuditEntry).order_by(AuditEntry.id)


def _count(bench: Bench, table: Any = Task) -> int:
    with bench.gateway.database.reading() as session:
        return session.query(table).count()


def test_an_uploaded_image_becomes_a_task(bench: Bench, alice: Caller) -> None:
    config = json.dumps({"sn": "3.5", "my note": "keep"})
    answer = alice.post("tasks/", **_upload(title="M 51", config=config))
    assert answer.status_code == 201
    task = answer.json["id"]
    assert answer.json == {
        "id": task,
        "original_name": "m51.fits",
        "title": "M 51",
        "config": {"sn": 3.5, "my note": "keep"},
        "groups": [],
        "warnings": ["my note: no stage reads this parameter"],
    }
    assert alice.get(f"tasks/{task}/state/").json == {
        "id": task,
        "state": "uploaded",
        "celery_id": None,
    }
    assert (bench.store.folder(task) / "image.fits").read_bytes() == IMAGE
    assert list((bench.store.root / ".incoming").iterdir()) == []


def test_a_task_may_begin_without_an_image(bench: Bench, alice: Caller) -> None:
    task = alice.new_task("later.fits", config={"sn": 4})
    full = alice.get(f"tasks/{task}").json
    assert full | {"created": None, "modified": None} == {
        "id": task,
        "original_name": "later.fits",
        "title": "",
        "state": "initial",
        "user": "alice",
        "groups": [],
        "created": None,
        "modified": None,
        "completed": None,
        "config": {"sn": 4.0},
        "celery_id": None,
        "path": str(task),
    }
    assert alice.get(f"tasks/{task}/files/").json == []


def test_a_file_of_the_data_folder_becomes_a_task(bench: Bench, alice: Caller) -> None:
    data = bench.gateway.settings.data_path
    (data / "night").mkdir()
    (data / "night" / "a.fits").write_bytes(IMAGE)
    answer = alice.post("tasks/", json={"local_file": "night/a.fits"})
    assert answer.status_code == 201
    assert answer.json["original_name"] == "a.fits"
    folder = bench.store.folder(answer.json["id"])
    assert (folder / "image.fits").read_bytes() == IMAGE


def test_one_extension_of_a_file_becomes_a_task(bench: Bench, alice: Caller) -> None:
    path = bench.gateway.settings.data_path / "mosaic.fits"
    images = [fits.ImageHDU(np.full((4, 5), value, np.float32)) for value in (1, 2)]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(path)
    answer = alice.post("tasks/", json={"local_file": "mosaic.fits", "ext": 2})
    assert answer.status_code == 201
    image = bench.store.folder(answer.json["id"]) / "image.fits"
    assert fits.getdata(image).tolist() == np.full((4, 5), 2).tolist()


def test_an_extension_that_unpacks_to_gigabytes_is_refused(bench: Bench, alice: Caller) -> None:
    path = bench.gateway.settings.data_path / "bomb.fits.fz"
    packed = fits.CompImageHDU(np.zeros((40, 50), np.int16))
    fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    content = path.read_bytes()
    for keyword in ("ZNAXIS1", "ZNAXIS2"):
        card, place = f"{keyword:8}= {2**16:>20}".ljust(80), content.index(keyword.encode())
        content = content[:place] + card.encode() + content[place + 80 :]
    path.write_bytes(content)
    answer = alice.post("tasks/", json={"local_file": "bomb.fits.fz", "ext": 1})
    assert answer.status_code == 400
    assert "too large to unpack" in answer.json["ext"][0]
    assert alice.get("tasks/").json == []


@pytest.mark.parametrize("kept", [40, 0.3, 0.6, 0.95])
def test_a_damaged_file_is_refused_in_a_sentence(bench: Bench, alice: Caller, kept: float) -> None:
    whole = bench.gateway.settings.data_path / "whole.fits.gz"
    noise = np.random.default_rng(1).normal(size=(200, 200))
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(noise)]).writeto(whole)
    content = bytearray(whole.read_bytes())
    if kept < 1:
        del content[int(kept * len(content)) :]
    else:
        content[int(kept) : int(kept) + 40] = bytes(40)
    (whole.parent / "damaged.fits.gz").write_bytes(content)
    answer = alice.post("tasks/", json={"local_file": "damaged.fits.gz", "ext": 1})
    assert answer.status_code == 400
    assert "damaged.fits.gz" in answer.json["ext"][0]
    assert list((bench.store.root / ".incoming").iterdir()) == []


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing that arrives finds room."""
    with ExitStack() as opened:

        def incoming(_: TaskStore) -> IO[bytes]:
            return opened.enter_context(open("/dev/full", "wb", buffering=0))

        monkeypatch.setattr(TaskStore, "incoming", incoming)
        yield


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("way", ["upload", "file", "local_file", "ext"])
def test_a_full_disk_is_answered_as_such(bench: Bench, alice: Caller, way: str) -> None:
    task = alice.new_task()
    image = bench.gateway.settings.data_path / "image.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((4, 5)))]).writeto(image)
    if way == "upload":
        answer = alice.post("tasks/", **_upload())
    elif way == "file":
        answer = alice.post(f"tasks/{task}/files/a.fits", **_upload())
    else:
        body: dict[str, Any] = {"local_file": "image.fits"} | ({"ext": 1} if way == "ext" else {})
        answer = alice.post("tasks/", json=body)
    assert answer.status_code == 507
    assert "disk is full" in answer.json["detail"]
    assert _count(bench) == 1


def test_whatever_needs_room_in_the_store_may_find_none(
    bench: Bench, alice: Caller, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle, busy = alice.new_task(), alice.new_task()
    for name in ("a.fits", "image.fits"):
        alice.post(f"tasks/{idle}/files/{name}", **_upload())
    steps = {"steps": ["inspect"]}
    run = alice.post(f"tasks/{busy}/process/", json=steps).json["celery_id"]

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("remove", "delete", "duplicate", "create_run", "cancel_run"):
        monkeypatch.setattr(TaskStore, name, full)
    answers = [
        alice("DELETE", f"tasks/{idle}/files/a.fits"),
        alice("DELETE", f"tasks/{busy}/"),
        alice.post(f"tasks/{idle}/duplicate/"),
        alice.post(f"tasks/{idle}/process/", json=steps),
        *(alice.post(f"tasks/{idle}/{change}/") for change in ("fix", "crop", "destripe")),
        alice.post(f"tasks/{idle}/action/", json={"action": "inspect"}),
        alice.post(f"tasks/{busy}/cancel/"),
        alice.post(f"queue/{run}/terminate/"),
        admin.post("queue/terminate_all/"),
    ]
    assert [answer.status_code for answer in answers] == [507] * len(answers)
    assert alice.get(f"tasks/{busy}/state/").json["celery_id"] == run
    assert alice("DELETE", f"tasks/{idle}/").status_code == 204, "its files wait for the janitor"
    assert idle in dict(bench.store.unsettled())


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, "original_name"),
        ({"local_file": "missing.fits"}, "local_file"),
        ({"local_file": "../gateway.db"}, "local_file"),
        ({"local_file": "/etc/passwd"}, "local_file"),
        ({"local_file": "link.fits"}, "local_file"),
        ({"original_name": "a", "ext": 1}, "ext"),
        ({"local_file": "plain.txt", "ext": 0}, "ext"),
        ({"local_file": "plain.txt", "ext": "first"}, "ext"),
        ({"original_name": "a", "preset": 17}, "preset"),
        ({"original_name": "a", "preset": "x"}, "preset"),
        ({"original_name": "a", "groups": ["nowhere"]}, "groups"),
        ({"original_name": "a", "groups": ["strangers"]}, "groups"),
        ({"original_name": "a", "config": "{'sn': 3}"}, "config"),
        ({"original_name": "a", "config": [1]}, "config"),
        ({"original_name": "a", "config": {"sn": "many"}}, "config"),
        ({"original_name": "a", "title": "x" * 251}, "title"),
        ({"original_name": "x" * 251}, "original_name"),
        ({"original_name": ["a"]}, "original_name"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused_and_leaves_nothing(
    bench: Bench, alice: Caller, eve: Caller, fields: dict[str, Any], wrong: str
) -> None:
    data = bench.gateway.settings.data_path
    (data / "plain.txt").write_text("no image")
    (data / "link.fits").symlink_to("/etc/passwd")
    answer = alice.post("tasks/", json=fields)
    assert answer.status_code == 400
    assert list(answer.json) == [wrong]
    assert _count(bench) == 0
    assert list(bench.store.root.glob("[0-9]*")) == []
    assert list((bench.store.root / ".incoming").iterdir()) == []


def test_a_wrong_parameter_is_answered_with_its_name_value_and_what_is_allowed(
    alice: Caller,
) -> None:
    answer = alice.post("tasks/", json={"original_name": "a", "config": {"sn": -1}})
    assert answer.status_code == 400
    (sentence,) = answer.json["config"]
    assert "sn" in sentence and "-1" in sentence and "a number" in sentence


def test_the_python_text_of_a_dictionary_is_answered_with_what_to_send(alice: Caller) -> None:
    answer = alice.post("tasks/", data={"original_name": "a", "config": str({"a": True})})
    assert answer.status_code == 400
    assert "JSON" in answer.json["config"][0] and '{"sn": 3' in answer.json["config"][0]


def test_file_and_local_file_together_are_refused(alice: Caller) -> None:
    assert alice.post("tasks/", **_upload(local_file="a.fits")).status_code == 400


@pytest.mark.parametrize(
    "body", [b"{", b"[1]", b'{"config": {"x": NaN}}', b'{"title": "\\u0000"}', b"[" * 100_000]
)
def test_a_body_that_is_no_json_object_is_refused(alice: Caller, body: bytes) -> None:
    answer = alice.post("tasks/", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert list(answer.json) == ["detail"]


def _nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = {"x": value} if level % 2 else [value]
    return value


@pytest.mark.parametrize("depth", [40, 900, 5000])
def test_what_is_nested_deeply_is_refused_in_a_sentence_in_every_form(
    bench: Bench, alice: Caller, depth: int
) -> None:
    task = alice.new_task(config={"note": _nested(20)})
    text = '{"note": ' + "[" * depth + "]" * depth + "}"
    whole = f'{{"original_name": "a", "steps": ["inspect"], "config": {text}}}'
    answers = [
        alice.post("tasks/", data=whole, content_type="application/json"),
        alice.post("tasks/", data={"original_name": "a", "config": text}),
        alice.post("tasks/", json={"original_name": "a", "config": text}),
        alice.post(f"tasks/{task}/process/", data=whole, content_type="application/json"),
        alice("PATCH", f"tasks/{task}/", data=whole, content_type="application/json"),
    ]
    for answer in answers:
        assert answer.status_code == 400
        assert "32 deep" in answer.json["detail"]
    assert _count(bench) == 1


def test_a_body_of_another_kind_is_refused(alice: Caller) -> None:
    answer = alice.post("tasks/", data=b"<a/>", content_type="text/xml")
    assert answer.status_code == 415


def test_an_upload_that_is_too_large_is_refused(tmp_path: Path, bench: Bench) -> None:
    carol = bench.caller("carol")
    bench.app.config["MAX_CONTENT_LENGTH"] = 1000
    form = {"file": (io.BytesIO(b"x" * 2000), "large.fits")}
    answer = carol.post("tasks/", data=form)
    assert answer.status_code == 413
    assert _count(bench) == 0


def test_a_preset_that_makes_no_sense_is_refused(bench: Bench, alice: Caller) -> None:
    with bench.gateway.database.writing() as session:
        preset = Preset(name="wrong", config={"sn": "high"}, files=[])
        session.add(preset)
        session.flush()
        number = preset.id
    answer = alice.post("tasks/", json={"original_name": "a", "preset": number})
    assert answer.status_code == 400
    assert "sn: 'high' is not allowed" in answer.json["preset"][0]


def test_a_preset_is_the_base_and_what_is_given_wins(bench: Bench, alice: Caller) -> None:
    (bench.gateway.settings.data_path / "mask.fits").write_bytes(b"mask")
    with bench.gateway.database.writing() as session:
        preset = Preset(name="fast", config={"sn": 9.0, "minarea": 3}, files=["mask.fits"])
        session.add(preset)
    assert alice.get("presets/").json == [
        {"id": preset.id, "name": "fast", "config": {"sn": 9.0, "minarea": 3}}
    ]
    assert alice.get(f"presets/{preset.id}/").json["name"] == "fast"
    assert alice.get("presets/999/").status_code == 404
    answer = alice.post("tasks/", **_upload(preset=str(preset.id), config='{"sn": 2}'))
    assert answer.json["config"] == {"sn": 2.0, "minarea": 3}
    names = [entry["name"] for entry in alice.get(f"tasks/{answer.json['id']}/files/").json]
    assert names == ["image.fits", "mask.fits"]


def test_the_list_has_the_newest_first_and_only_what_the_user_may_see(
    bench: Bench, alice: Caller, bob: Caller, eve: Caller, admin: Caller
) -> None:
    own = alice.new_task("own.fits")
    shared = alice.new_task("shared.fits", groups=["observers"])
    assert [task["id"] for task in alice.get("tasks/").json] == [shared, own]
    assert [task["id"] for task in bob.get("tasks").json] == [shared]
    assert eve.get("tasks/").json == []
    assert len(admin.get("tasks/").json) == 2
    assert set(bob.get("tasks/").json[0]) == {
        "id",
        "original_name",
        "title",
        "state",
        "user",
        "created",
        "modified",
    }


def test_every_word_of_a_query_must_be_found(bench: Bench, alice: Caller) -> None:
    both = alice.new_task("m51_r.fits", title="Whirlpool 100%", groups=["observers"])
    one = alice.new_task("m31.fits", title="Andromeda")

    def found(query: str) -> list[int]:
        answer = alice.get("tasks/", query_string={"query": query})
        return [task["id"] for task in answer.json]

    assert found("whirl M51") == [both]
    assert found("whirl m31") == []
    assert found("ALICE") == [one, both]
    assert found("observ") == [both]
    assert found("100%") == [both]
    assert found("%") == [both]
    assert found("_r") == [both]


def test_the_list_is_filtered_by_state_and_owner(bench: Bench, alice: Caller, bob: Caller) -> None:
    first = alice.new_task(groups=["observers"])
    second = bob.new_task()
    by_owner = bob.get("tasks/", query_string={"user": "alice"}).json
    assert [task["id"] for task in by_owner] == [first]
    assert (
        bob.get("tasks/", query_string={"state": "initial", "user": "bob"}).json[0]["id"] == second
    )
    assert bob.get("tasks/", query_string={"state": "init"}).json == []


def test_with_a_limit_the_list_comes_in_pages(alice: Caller) -> None:
    tasks = [alice.new_task(f"{number}.fits") for number in range(5)][::-1]
    page = alice.get("tasks/", query_string={"limit": 2, "query": "fits"}).json
    seen = [task["id"] for task in page["results"]]
    assert (page["count"], page["previous"]) == (5, None)
    while page["next"]:
        path = page["next"].partition("/api/")[2]
        page = alice.get(path).json
        seen += [task["id"] for task in page["results"]]
    assert seen == tasks
    assert "query=fits" in page["previous"]
    far = alice.get("tasks/", query_string={"limit": 2, "offset": 10**18}).json
    assert far["results"] == [] and far["next"] is None
    odd = alice.get("tasks/", query_string={"limit": "many"}).json
    assert len(odd) == 5


def test_patch_and_post_change_what_is_sent_and_nothing_else(bench: Bench, alice: Caller) -> None:
    task = alice.new_task("a.fits", title="old", config={"sn": 3, "minarea": 4})
    changed = alice("PATCH", f"tasks/{task}/", json={"title": "new", "state": "done", "user": "x"})
    assert changed.status_code == 200
    assert changed.json["title"] == "new"
    assert changed.json["original_name"] == "a.fits"
    assert changed.json["state"] == "initial"
    replaced = alice.post(f"tasks/{task}", json={"config": {"gain": 2}})
    assert replaced.json["config"] == {"gain": 2.0}
    shared = alice("PATCH", f"tasks/{task}/", json={"groups": ["observers"]})
    assert shared.json["groups"] == ["observers"]
    assert alice("PATCH", f"tasks/{task}/", json={"groups": []}).json["groups"] == []
    for wrong in ({"config": {"sn": "x"}}, {"groups": ["nowhere"]}, {"original_name": ""}):
        assert alice("PATCH", f"tasks/{task}/", json=wrong).status_code == 400
    assert alice.get(f"tasks/{task}/").json["config"] == {"gain": 2.0}


def test_the_configuration_does_not_change_while_the_task_is_processed(
    bench: Bench, alice: Caller
) -> None:
    task = alice.new_task()
    alice.process(task, "inspect")
    assert alice("PATCH", f"tasks/{task}/", json={"config": {"sn": 1}}).status_code == 409
    assert alice("PATCH", f"tasks/{task}/", json={"title": "may"}).status_code == 200


def test_a_deleted_task_is_gone_with_its_files(bench: Bench, alice: Caller) -> None:
    task = alice.post("tasks/", **_upload()).json["id"]
    assert alice("DELETE", f"tasks/{task}/").status_code == 204
    assert alice.get(f"tasks/{task}/").status_code == 404
    assert not bench.store.folder(task).exists()
    assert list((bench.store.root / ".versions").iterdir()) == []
    with bench.gateway.database.reading() as session:
        actions = [(entry.action, entry.task_id_ref) for entry in _audit(session)]
    assert actions == [("task_create", task), ("task_delete", task)]
    assert alice.new_task() > task


def test_rights_are_those_of_owner_group_and_staff(
    bench: Bench, alice: Caller, bob: Caller, eve: Caller, admin: Caller
) -> None:
    task = alice.new_task(groups=["observers"])
    watcher = bench.caller("watcher", view_all_tasks=True)
    editor = bench.caller("editor", edit_all_tasks=True)
    body = {"json": {"title": "x"}}

    def statuses(caller: Caller) -> tuple[int, int, int]:
        read = caller.get(f"tasks/{task}/").status_code
        write = caller("PATCH", f"tasks/{task}/", **body).status_code
        delete = 403
        if caller not in (alice, admin):
            delete = caller("DELETE", f"tasks/{task}/").status_code
        return read, write, delete

    assert statuses(bob) == (200, 200, 403)
    assert statuses(eve) == (403, 403, 403)
    assert statuses(watcher) == (200, 403, 403)
    assert statuses(editor) == (200, 200, 403)
    assert statuses(alice)[:2] == (200, 200)
    assert eve.get(f"tasks/{task}/").json == {"error": "Permission denied"}
    for path in ("state/", "files/", "files/image.fits", "runs/"):
        assert eve.get(f"tasks/{task}/{path}").status_code == 403
    for path in ("process/", "cancel/", "files/image.fits"):
        assert eve.post(f"tasks/{task}/{path}").status_code == 403
    assert eve("DELETE", f"tasks/{task}/files/image.fits").status_code == 403
    assert admin("DELETE", f"tasks/{task}/").status_code == 204


@pytest.mark.parametrize("task", ["999", "99999999999", "99999999999999999999999"])
def test_a_task_that_does_not_exist_is_not_found(alice: Caller, task: str) -> None:
    assert alice.get(f"tasks/{task}/").status_code == 404
    assert alice.get(f"tasks/{task}/state/").status_code == 404
    assert alice.process(task, "inspect").status_code == 404
    assert alice("DELETE", f"tasks/{task}/").status_code == 404


@pytest.mark.parametrize("way", ["task", "file", "many"])
def test_nobody_waits_until_the_files_of_what_is_deleted_are_removed(
    bench: Bench, alice: Caller, way: str
) -> None:
    task = alice.new_task()
    alice.post(f"tasks/{task}/files/a.fits", **_upload())
    trash = bench.store.root / ".trash"
    (trash / "much").mkdir()
    if way == "task":
        assert alice("DELETE", f"tasks/{task}/").status_code == 204
    elif way == "file":
        assert alice("DELETE", f"tasks/{task}/files/a.fits").status_code == 204
    else:
        alice.post("tasks/actions/", json={"action": "delete", "ids": [task]})
    assert (trash / "much").exists()
    janitor.empty_trash(bench.gateway)
    assert list(trash.iterdir()) == []
