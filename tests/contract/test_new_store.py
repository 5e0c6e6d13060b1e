"""Does a gateway tell the first day of an installation from a mount that is missing?"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.gateway import Bench, Caller, opened
from tests.support.mounts import LEFT_BEHIND, unmounted


def test_an_empty_folder_is_no_new_store_where_there_are_tasks(
    bench: Bench, alice: Caller, tmp_path: Path, database_url: str
) -> None:
    alice.new_task()
    root = bench.store.root
    # With what was uploaded there, too, when gateways still made a store wherever they began.
    for left in ((), LEFT_BEHIND, (*LEFT_BEHIND, ".versions/77-abc")):
        with unmounted(root, left):
            with opened(tmp_path, database_url) as late:
                assert not late.store.answers()
            assert ".skyrelay-store" not in {path.name for path in root.iterdir()}
    with opened(tmp_path, database_url) as late:
        assert late.store.answers()


def test_a_store_of_before_there_were_marks_gets_one(
    bench: Bench, alice: Caller, tmp_path: Path, database_url: str
) -> None:
    task = alice.new_task()
    (bench.store.root / ".skyrelay-store").unlink()
    assert not bench.store.answers()
    with opened(tmp_path, database_url):
        assert bench.store.answers()
    assert alice.get(f"tasks/{task}/files/").status_code == 200


def test_what_a_restore_leaves_out_is_made_anew(
    bench: Bench, alice: Caller, tmp_path: Path, database_url: str
) -> None:
    alice.new_task()
    for name in (".runs", ".trash"):
        shutil.rmtree(bench.store.root / name)
    assert not bench.store.answers()
    with opened(tmp_path, database_url):
        assert bench.store.answers()
