"""Are images and cut-outs shown as asked for, quickly, and never at the cost of others?"""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from PIL import Image
from werkzeug.test import TestResponse

from gateway.current import parts_of
from gateway.preview.jobs import Job
from gateway.preview.levels import sweep
from gateway.preview.planes import opened_planes
from gateway.preview.renderers import Renderers
from tests.support.figures import Growth
from tests.support.gateway import Bench, Caller

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

_CRVAL = (150.0, 20.0)


def _header(columns: int, rows: int) -> fits.Header:
    header = fits.Header()
    for axis, (kind, value, size, step) in enumerate(
        (("RA---TAN", _CRVAL[0], columns, -1), ("DEC--TAN", _CRVAL[1], rows, 1)), 1
    ):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"] = kind, value
        header[f"CRPIX{axis}"], header[f"CD{axis}_{axis}"] = size / 2 + 0.5, step / 3600
    return header


def _sky(rows: int = 300, columns: int = 400) -> np.ndarray[Any, Any]:
    """Noise with a bright block in the lower left corner."""
    data = np.random.default_rng(1).normal(100, 5, (rows, columns)).astype(np.float32)
    data[: rows // 4, : columns // 4] += 100
    return data


@pytest.fixture(scope="module")
def pool() -> Iterator[Renderers]:
    """Renderers for all tests: to begin one takes seconds, and they know nothing of a gateway."""
    made = Renderers(1, 1024, threading.BoundedSemaphore(12))
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def shared(bench: Bench, pool: Renderers) -> None:
    """The gateway of the test has these renderers."""
    parts_of(bench.app).renderers = pool
    # The test that ends its gateway must not end them.
    bench.close = parts_of(bench.app).feed.stop  # type: ignore[method-assign]


@pytest.fixture
def task(alice: Caller) -> int:
    """A task of alice's with an image."""
    content = io.BytesIO()
    data = _sky()
    fits.PrimaryHDU(data, _header(400, 300)).writeto(content)
    content.seek(0)
    answer = alice.post("tasks/", data={"file": (content, "sky.fits")})
    return int(answer.json["id"])


def _picture(answer: TestResponse) -> np.ndarray[Any, Any]:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.data)).convert("RGB"), int)


def test_a_preview_shows_the_image_with_north_up_as_it_is_on_disk(alice: Caller, task: int) -> None:
    answer = alice.get(f"tasks/{task}/preview/image.fits")
    assert answer.mimetype == "image/jpeg"
    picture = _picture(answer)
    assert picture.shape == (600, 800, 3)
    bright = picture.sum(axis=2)
    assert bright[-100:, :150].mean() > 1.5 * bright[:300].mean()


def test_size_and_format_are_as_asked_for(alice: Caller, task: int) -> None:
    answer = alice.get(f"tasks/{task}/preview/image.fits?width=200&format=png&cmap=gray")
    assert answer.mimetype == "image/png"
    picture = _picture(answer)
    assert picture.shape == (150, 200, 3)
    assert (picture[..., 0] == picture[..., 2]).all()
    small = alice.get(f"tasks/{task}/preview/image.fits?quality=5")
    assert len(small.data) < len(alice.get(f"tasks/{task}/preview/image.fits?quality=95").data)


@pytest.mark.parametrize(
    "query",
    [
        *(f"stretch={name}" for name in "linear asinh log sqrt sinh power histeq".split()),
        "r0=3",
        "qmin=10&qmax=90",
        "zoom=8&dx=0.4&dy=-0.4",
        "grid=1",
        "ra=150.0,150.01&dec=20.0,20.01&radius=5&radius2=8&radius3=10",
        "sub_ra=150&sub_dec=20&sub_size=50",
        "sub_ra=150.04&sub_dec=20.03&sub_sr=0.01",
        "obj=1&cat=1",
        "ext=0",
    ],
)
def test_every_way_of_looking_makes_a_picture_of_its_own(
    bench: Bench, alice: Caller, task: int, query: str
) -> None:
    folder = bench.store.folder(task)
    Table({"x": [50.0, 200.0], "y": [60.0, 100.0], "flags": [0, 1]}).write(
        folder / "objects.parquet"
    )
    Table({"RAJ2000": [150.0], "DEJ2000": [20.0]}).write(folder / "cat.parquet")
    plain = _picture(alice.get(f"tasks/{task}/preview/image.fits?format=png"))
    other = _picture(alice.get(f"tasks/{task}/preview/image.fits?format=png&{query}"))
    if query not in ("stretch=linear", "ext=0"):
        assert plain.shape != other.shape or (plain != other).any()


def test_a_mark_is_where_the_position_is(alice: Caller, task: int) -> None:
    plain = _picture(alice.get(f"tasks/{task}/preview/image.fits?format=png"))
    url = f"tasks/{task}/preview/image.fits?format=png&ra=150.0&dec=20.0&radius=4"
    rows, columns, _ = np.nonzero(plain != _picture(alice.get(url)))
    assert abs(rows.mean() - 300) < 2 and abs(columns.mean() - 400) < 2


def test_zoom_shows_a_part_and_all_its_pixels(alice: Caller, task: int) -> None:
    url = f"tasks/{task}/preview/image.fits?format=png&cmap=gray&zoom=4&dx=-0.5&dy=-0.5"
    picture = _picture(alice.get(url))
    assert (picture[50:-50, 50:-50] > 128).mean() > 0.95


def test_the_users_mask_is_shown_on_the_image(bench: Bench, alice: Caller, task: int) -> None:
    before = _picture(alice.get(f"tasks/{task}/preview/image.fits?format=png"))
    mask = np.zeros((300, 400), np.uint8)
    mask[150:, 200:] = 1
    fits.PrimaryHDU(mask).writeto(bench.store.folder(task) / "custom_mask.fits")
    after = _picture(alice.get(f"tasks/{task}/preview/image.fits?format=png"))
    changed = (before != after).any(axis=2)
    assert changed[:295, 405:].all() and not changed[305:].any()


@pytest.mark.parametrize(
    ("query", "field"),
    [("width=wide", "width"), ("r0=nan", "r0"), ("qmin=a", "qmin"), ("ext=1.5", "ext"),
     ("ra=a&dec=1", "ra"), ("quality=", ""), ("width=" + "9" * 5000, "width")],
)  # fmt: skip
def test_what_is_no_number_is_refused(alice: Caller, task: int, query: str, field: str) -> None:
    answer = alice.get(f"tasks/{task}/preview/image.fits?{query}")
    if not field:
        assert answer.status_code == 200
        return
    assert (answer.status_code, answer.json) == (400, {field: "Invalid numeric value"})


@pytest.mark.parametrize("what", ["preview/image.fits", "cutout/a.cutout"])
@pytest.mark.parametrize(
    ("query", "kind", "width"),
    [
        *((f"format={name}", "image/jpeg", 800) for name in ("jpg", "JPG", "JPEG", "gif")),
        ("format=PNG", "image/png", 800),
        ("width=1000000&quality=0", "image/jpeg", 4096),
        ("width=-5&quality=1000", "image/jpeg", 16),
    ],
)
def test_format_width_and_quality_are_taken_as_stdweb_takes_them(
    bench: Bench, alice: Caller, task: int, what: str, query: str, kind: str, width: int
) -> None:
    _write_cutout(bench, task, "image")
    answer = alice.get(f"tasks/{task}/{what}?{query}")
    assert (answer.status_code, answer.mimetype) == (200, kind)
    assert _picture(answer).shape[1] == width


@pytest.mark.parametrize(
    "query",
    ["zoom=99", "stretch=odd", "cmap=odd", "qmin=60&qmax=40", "ext=7",
     "ra=1&dec=1,2", "sub_ra=10&sub_dec=20", "sub_ra=10"],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused_in_a_sentence(
    alice: Caller, task: int, query: str
) -> None:
    answer = alice.get(f"tasks/{task}/preview/image.fits?{query}")
    assert answer.status_code == 400
    assert answer.json


@pytest.mark.parametrize("content", [b"", b"no image", b"SIMPLE  =                    T", None])
def test_a_file_that_is_no_image_is_refused_and_the_next_is_shown(
    bench: Bench, alice: Caller, task: int, content: bytes | None
) -> None:
    path = bench.store.folder(task) / "odd.fits"
    if content is None:  # Cut off in the middle.
        content = (bench.store.folder(task) / "image.fits").read_bytes()[:200_000]
    path.write_bytes(content)
    grown = Growth()
    for kind in ("preview", "cutout"):
        answer = alice.get(f"tasks/{task}/{kind}/odd.fits")
        assert answer.status_code == 400 and answer.json["error"]
    assert grown("skyrelay_picture_seconds_count", kind="image", ending="refused") == 1
    assert grown("skyrelay_picture_seconds_count", kind="cutout", ending="refused") == 1
    assert alice.get(f"tasks/{task}/preview/image.fits").status_code == 200
    assert grown("skyrelay_picture_seconds_count", kind="image", ending="made") == 1


def test_what_is_not_there_or_not_ones_own_is_not_shown(
    alice: Caller, eve: Caller, task: int
) -> None:
    for kind in ("preview", "cutout"):
        for path in ("nothing.fits", "../2/image.fits", "%2e%2e/x", "/etc/passwd", "a%00b"):
            assert alice.get(f"tasks/{task}/{kind}/{path}").status_code == 404
        assert eve.get(f"tasks/{task}/{kind}/image.fits").status_code == 403
        assert alice.get(f"tasks/999/{kind}/image.fits").status_code == 404
        assert alice.post(f"tasks/{task}/{kind}/image.fits").status_code == 405


def test_an_unchanged_picture_is_not_sent_again(bench: Bench, alice: Caller, task: int) -> None:
    url = f"tasks/{task}/preview/image.fits"
    tag = alice.get(url).headers["ETag"]
    same = alice.get(url, headers={"If-None-Match": tag})
    assert (same.status_code, same.data) == (304, b"")
    assert alice.get(f"{url}?zoom=2", headers={"If-None-Match": tag}).status_code == 200
    Table({"x": [1.0], "y": [1.0], "flags": [0]}).write(
        bench.store.folder(task) / "objects.parquet"
    )
    assert alice.get(url, headers={"If-None-Match": tag}).status_code == 200


def test_a_second_look_does_not_read_the_image_again(
    bench: Bench, alice: Caller, task: int
) -> None:
    alice.get(f"tasks/{task}/preview/image.fits")
    (home,) = (bench.store.root / ".previews").iterdir()
    made = {file.name: file.stat().st_mtime_ns for file in home.iterdir()}
    alice.get(f"tasks/{task}/preview/image.fits?stretch=log&zoom=2")
    assert {file.name: file.stat().st_mtime_ns for file in home.iterdir()} == made


@pytest.mark.parametrize("kind", ["compressed", "scaled", "cube", "integer", "nan", "odd size"])
def test_images_of_every_kind_are_shown(bench: Bench, alice: Caller, task: int, kind: str) -> None:
    data, path = _sky(), bench.store.folder(task) / "kind.fits"
    if kind == "compressed":
        hdus = fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data)])
    elif kind == "cube":
        hdus = fits.HDUList([fits.PrimaryHDU(np.stack([data, data]))])
    elif kind == "nan":
        data[:, 100:200] = np.nan
        hdus = fits.HDUList([fits.PrimaryHDU(data)])
    elif kind == "odd size":
        hdus = fits.HDUList([fits.PrimaryHDU(_sky(611, 1403))])
    else:
        hdus = fits.HDUList([fits.PrimaryHDU(data.astype(np.uint16))])
        if kind == "scaled":
            hdus[0].scale("int16", bscale=0.01, bzero=100)
    hdus.writeto(path)
    bright = _picture(alice.get(f"tasks/{task}/preview/kind.fits?cmap=gray")).sum(axis=2)
    assert bright[-60:, :150].mean() > 1.5 * bright[:200, :150].mean()


def _write_cutout(bench: Bench, task: int, *names: str) -> None:
    head = fits.PrimaryHDU()
    head.header["FLUX"], head.header["FLUXERR"] = 100.0, 4.0
    planes = [fits.ImageHDU(_sky(31, 31), name=name) for name in names]
    fits.HDUList([head, *planes]).writeto(bench.store.folder(task) / "a.cutout")


@pytest.mark.parametrize(
    "query",
    [
        *(f"stretch={name}" for name in "asinh log sqrt sinh power histeq".split()),
        "qmin=10&qmax=90",
        "r0=2",
        "cmap=viridis",
        "mark=1",
        "mark=1&radius=3&radius2=8&radius3=10",
    ],
)
def test_a_cutout_may_be_looked_at_in_every_way(
    bench: Bench, alice: Caller, task: int, query: str
) -> None:
    _write_cutout(bench, task, "image", "template")
    path = f"tasks/{task}/cutout/a.cutout?format=png&width=400"
    plain, other = _picture(alice.get(path)), _picture(alice.get(f"{path}&{query}"))
    for plane in (slice(0, 198), slice(202, 400)):
        assert (plain[16:, plane] != other[16:, plane]).any()


def test_the_mark_of_a_cutout_is_around_its_middle(bench: Bench, alice: Caller, task: int) -> None:
    _write_cutout(bench, task, "image")
    path = f"tasks/{task}/cutout/a.cutout?format=png&width=310"
    plain = _picture(alice.get(path))
    rows, columns, _ = np.nonzero(plain != _picture(alice.get(f"{path}&mark=1&radius=5")))
    assert abs(rows.mean() - 16 - 155) < 2 and abs(columns.mean() - 155) < 2
    assert np.ptp(columns) == pytest.approx(100, abs=3)


@pytest.mark.parametrize("query", ["stretch=odd", "cmap=odd", "qmin=60&qmax=40", "r0=-1"])
def test_a_cutout_is_not_shown_in_a_way_that_there_is_not(
    bench: Bench, alice: Caller, task: int, query: str
) -> None:
    _write_cutout(bench, task, "image")
    answer = alice.get(f"tasks/{task}/cutout/a.cutout?{query}")
    assert answer.status_code == 400 and answer.json


def test_the_planes_of_a_cutout_are_side_by_side(bench: Bench, alice: Caller, task: int) -> None:
    _write_cutout(bench, task, "diff", "image", "template")
    answer = alice.get(f"tasks/{task}/cutout/a.cutout?width=608&format=png")
    assert answer.mimetype == "image/png"
    assert _picture(answer).shape == (216, 608, 3)


def _bomb(kind: str) -> bytes:
    """A small file that promises far more than anybody has memory for."""
    head = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2})
    if kind == "many axes":
        head["NAXIS"] = 900_000_000
        return head.tostring().encode()
    head["NAXIS1"], head["NAXIS2"] = 120_000, 120_000
    if kind == "packed":
        return gzip.compress(head.tostring().encode())
    if kind != "archive":
        return head.tostring().encode()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.fits", head.tostring())
    packed = bytearray(content.getvalue())
    place = packed.index(b"PK\x01\x02") + 24  # The unpacked size, where readers look for it.
    packed[place : place + 4] = (2**32 - 2).to_bytes(4, "little")
    return bytes(packed)


@pytest.mark.parametrize("kind", ["many axes", "packed", "archive", "plain"])
@pytest.mark.parametrize("what", ["preview", "cutout", "data"])
def test_a_small_file_that_promises_very_much_is_refused(
    bench: Bench, pool: Renderers, alice: Caller, task: int, kind: str, what: str
) -> None:
    folder = bench.store.folder(task) if what != "data" else bench.gateway.settings.data_path
    (folder / "bomb.fits").write_bytes(_bomb(kind))
    path = "files/bomb.fits/preview/" if what == "data" else f"tasks/{task}/{what}/bomb.fits"
    answer = alice.get(path)
    assert answer.status_code == 400 and answer.json["error"].endswith(".")
    (process,) = pool._living
    status = Path(f"/proc/{process.pid}/status").read_text()
    assert int(status.partition("VmHWM:")[2].split()[0]) < 1024**2, "KiB of memory"
    assert alice.get(f"tasks/{task}/preview/image.fits?width=64").status_code == 200


def test_of_a_file_with_very_many_planes_only_some_are_read(
    bench: Bench, alice: Caller, task: int
) -> None:
    _write_cutout(bench, task, *(f"plane{number}" for number in range(300)))
    with opened_planes(bench.store.folder(task) / "a.cutout") as planes:
        assert len(planes.hdus) == 16
    assert alice.get(f"tasks/{task}/cutout/a.cutout").status_code == 200


def test_files_of_the_data_folder_are_shown_too(bench: Bench, alice: Caller) -> None:
    data: Path = bench.gateway.settings.data_path
    fits.PrimaryHDU(_sky()).writeto(data / "a.fits")
    for path in ("files/a.fits/preview/", "files/a.fits/preview"):
        assert _picture(alice.get(path)).shape == (600, 800, 3)
    assert alice.get("files/b.fits/preview/").status_code == 404
    assert alice.get("files/a.fits/preview/?width=x").json == {"width": "Invalid numeric value"}
    without = alice.get("files/a.fits/preview/?grid=1")
    assert (without.status_code, without.json) == (400, {"error": "The image has no coordinates."})


def test_a_renderer_that_dies_is_replaced(pool: Renderers, alice: Caller, task: int) -> None:
    assert alice.get(f"tasks/{task}/preview/image.fits").status_code == 200
    (process,) = pool._living
    grown = Growth()
    process.kill()
    process.wait()
    assert alice.get(f"tasks/{task}/preview/image.fits?width=300").status_code == 200
    assert grown("skyrelay_renderer_deaths_total") == 1


def test_what_a_renderer_logs_says_which_task_it_is_about(tmp_path: Path) -> None:
    # A job without a picture is none that a view makes: an error that nobody has foreseen.
    jobs = [Job(path="a.fits", task=task, cache=str(tmp_path), cache_size=1) for task in (7, None)]
    ended = subprocess.run(
        [sys.executable, "-m", "gateway.preview", "1024"],
        input="".join(f"{job.model_dump_json()}\n" for job in jobs),
        env=os.environ | {"SKYRELAY_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line.get("task") for line in said] == [7, None]
    assert "could not be made" in said[0]["message"] and said[0]["traceback"]


def test_no_more_than_some_wait_for_pictures(
    bench: Bench, pool: Renderers, alice: Caller, task: int
) -> None:
    taken = [pool._room.acquire(blocking=False) for _ in range(1000)]
    answer = alice.get(f"tasks/{task}/preview/image.fits")
    assert answer.status_code == 503 and answer.headers["Retry-After"]
    assert alice.get(f"tasks/{task}/state/").status_code == 200
    for _ in range(sum(taken)):
        pool._room.release()
    assert alice.get(f"tasks/{task}/preview/image.fits").status_code == 200


def test_what_was_not_looked_at_for_long_makes_room(tmp_path: Path, database_url: str) -> None:
    for name in ("old", "new"):
        (tmp_path / "cache" / name).mkdir(parents=True)
        (tmp_path / "cache" / name / "level").write_bytes(b"x" * 100)
    os.utime(tmp_path / "cache" / "old", (1, 1))
    sweep(tmp_path / "cache", 150)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["new"]


def test_many_may_look_at_once(alice: Caller, task: int) -> None:
    answers: list[int] = []

    def look(width: int) -> None:
        http = alice.http.application.test_client()
        answers.append(Caller(http, alice.token).get(
            f"tasks/{task}/preview/image.fits?width={width}"
        ).status_code)  # fmt: skip

    threads = [threading.Thread(target=look, args=(100 + index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 6


def test_where_no_pictures_are_made_it_is_said(bench: Bench, alice: Caller, task: int) -> None:
    parts_of(bench.app).renderers = Renderers(0, 1024, threading.BoundedSemaphore(12))
    answer = alice.get(f"tasks/{task}/preview/image.fits")
    assert answer.status_code == 400
    assert "No pictures are made here" in answer.text
