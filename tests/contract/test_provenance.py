"""Can a client tell where every product is from, and follow what a stage says?"""

from __future__ import annotations

import hashlib
from pathlib import Path

from skyrelay.stages import INSPECT
from tests.support.gateway import Bench, Caller


def test_every_product_has_its_origin(bench: Bench, alice: Caller, eve: Caller) -> None:
    task = alice.new_task(config={"sn": 4})
    first = bench.run(alice, task, INSPECT.step, product="mask.fits")
    second = bench.run(
        alice, task, INSPECT.step, make=lambda folder: _write(folder / "inspect.log", "again")
    )
    mask, log = sorted(
        alice.get(f"tasks/{task}/provenance/").json, key=lambda each: each["path"], reverse=True
    )
    assert (mask["path"], mask["run"], mask["step"]) == ("mask.fits", first, "inspect")
    assert mask["sha256"] == hashlib.sha256(b"mask.fits").hexdigest()
    assert (log["path"], log["run"], log["size"]) == ("inspect.log", second, 5)
    full = alice.get(f"tasks/{task}/provenance/mask.fits").json
    assert full["parameters"] == {"sn": 4}
    assert {"python", "astropy", "stdpipe"} <= full["software"].keys()
    assert alice.get(f"tasks/{task}/provenance/image.fits").status_code == 404
    assert eve.get(f"tasks/{task}/provenance/").status_code == 403


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)


def test_a_log_is_followed_by_range_while_the_stage_works(bench: Bench, alice: Caller) -> None:
    task = alice.new_task()
    alice.process(task, "inspect")
    command = bench.command()
    assert alice.get(f"tasks/{task}/logs/inspect/").status_code == 404
    bench.hear(bench.started(command))
    attempt = bench.store.attempt(command)
    with attempt.claimed():
        log = attempt.open_scratch() / INSPECT.log_name
        log.write_text("one\n")
        answer = alice.get(f"tasks/{task}/logs/inspect/")
        assert (answer.text, answer.headers["X-Log"]) == ("one\n", "live")
        following = {"headers": {"Range": "bytes=4-"}}
        answer = alice.get(f"tasks/{task}/logs/inspect/", **following)
        assert (answer.status_code, answer.headers["X-Log"]) == (416, "live")
        log.write_text("one\ntwo\n")
        answer = alice.get(f"tasks/{task}/logs/inspect/", **following)
        assert (answer.status_code, answer.text) == (206, "two\n")
    bench.hear(bench.finished(command, product=INSPECT.log_name))
    answer = alice.get(f"tasks/{task}/logs/inspect/")
    assert (answer.text, answer.headers["X-Log"]) == (INSPECT.log_name, "final")
    all_of_it = {"headers": {"Range": f"bytes={len(INSPECT.log_name)}-"}}
    answer = alice.get(f"tasks/{task}/logs/inspect/", **all_of_it)
    assert (answer.status_code, answer.headers["X-Log"]) == (416, "final")
    assert alice.get(f"tasks/{task}/logs/dance/").status_code == 404
