"""May staff, and staff alone, say with what a task may begin?"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.gateway import Bench, Caller


def test_staff_makes_changes_and_deletes_presets(
    bench: Bench, admin: Caller, alice: Caller
) -> None:
    (bench.gateway.settings.data_path / "flat.fits").write_bytes(b"x")
    made = admin.post(
        "presets/", json={"name": "deep", "config": {"sn": 3}, "files": ["flat.fits"]}
    )
    assert made.status_code == 201
    path = f"presets/{made.json['id']}/"
    assert alice.get(path).json == {"id": made.json["id"], "name": "deep", "config": {"sn": 3}}
    assert admin.get(path).json["files"] == ["flat.fits"]
    assert admin("PATCH", path, json={"name": "deeper"}).json["config"] == {"sn": 3}
    task = alice.post("tasks/", json={"original_name": "x", "preset": made.json["id"]}).json
    assert task["config"] == {"sn": 3}
    assert admin("DELETE", path).status_code == 204
    assert admin.get(path).status_code == 404
    assert alice.get(f"tasks/{task['id']}/").json["config"] == {"sn": 3}


def test_others_only_read_them(admin: Caller, alice: Caller) -> None:
    number = admin.post("presets/", json={"name": "deep"}).json["id"]
    assert alice.post("presets/", json={"name": "mine"}).status_code == 403
    assert alice("PATCH", f"presets/{number}/", json={"name": "mine"}).status_code == 403
    assert alice("DELETE", f"presets/{number}/").status_code == 403


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": " "},
        {"name": "x" * 300},
        {"name": "x", "config": {"sn": "many"}},
        {"name": "x", "files": ["../secret"]},
        {"name": "x", "files": ["missing.fits"]},
    ],
)
def test_a_preset_that_makes_no_sense_is_refused(admin: Caller, fields: Any) -> None:
    assert admin.post("presets/", json=fields).status_code == 400
    assert admin.get("presets/").json == []
