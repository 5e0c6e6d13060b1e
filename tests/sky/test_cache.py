"""Is the cache safe: against many at once, torn files, age, size, and a folder that is no good?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from skyrelay.sky.remote import Remote
from skyrelay.sky.remote.cache import Cache
from tests.sky.server import Fault, SkyServer
from tests.sky.test_remote import CONE, QUESTIONS

#: Forks a worker for every line that it reads, which asks for the stars of a field and prints
#: its process id and how many there are. Imported once, as it takes long.
NURSERY = """
import os, signal, sys, time
from pathlib import Path
from skyrelay.errors import Retriable
from skyrelay.settings import Settings
from skyrelay.sky.healpix import Cone
from skyrelay.sky.remote import Remote
from skyrelay.sky.vizier import entries_in

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    folder, url, start, ra, dec, radius = line.split()
    if os.fork():
        continue
    settings = Settings(
        _env_file=None, skyrelay_cache_path=folder, skyrelay_vizier_urls=url,
        skyrelay_ask_again=(0.3,),
    )
    remote = Remote(settings, False, Path(folder), lambda *_: None)
    time.sleep(max(0.0, float(start) - time.time()))
    try:
        said = len(entries_in(remote, "ps1", Cone(float(ra), float(dec), float(radius))))
    except Retriable as error:
        said = error
    os.write(1, f"{os.getpid()} {said}\\n".encode())
    os._exit(0)
"""


@dataclass
class Nursery:
    """Workers of replicas, each a process of its own."""

    process: subprocess.Popen[str]

    def start(self, folder: Path, url: str, number: int = 1) -> None:
        """Start workers that ask at one and the same time, each for a slightly other field."""
        assert self.process.stdin is not None
        start = time.time() + 0.3
        for east in range(number):
            place = (CONE.ra + east / 36000, CONE.dec, CONE.radius)
            print(folder, url, start, *place, file=self.process.stdin, flush=True)

    def said(self, number: int = 1) -> list[str]:
        """What so many workers have found."""
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline() for _ in range(number)]
        return [line.strip().partition(" ")[2] for line in lines]

    def kill_workers(self) -> None:
        """End all that are at work, with no time to tidy up."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in children.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield Nursery(process)
    process.communicate()


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.glob("[!.]*/*/*") if path.is_file()]


def test_eight_processes_that_want_the_same_ask_once(
    server: SkyServer, tmp_path: Path, nursery: Nursery
) -> None:
    nursery.start(tmp_path, server.url("vizier"), 8)
    found = nursery.said(8)
    assert server.count()["vizier"] == 1
    assert all(int(each) > 10 for each in found), found
    assert len(entries(tmp_path)) == 1


def test_those_who_wait_share_the_failure(
    server: SkyServer, tmp_path: Path, nursery: Nursery
) -> None:
    server.fail("vizier", Fault.ERROR)
    nursery.start(tmp_path, server.url("vizier"), 8)
    found = nursery.said(8)
    assert all("VizieR does not answer (HTTP status 500)" in each for each in found), found
    # Each of them alone would have asked twice.
    assert server.count()["vizier"] < 16


def test_a_worker_that_is_killed_while_it_asks_blocks_nobody(
    server: SkyServer, tmp_path: Path, nursery: Nursery
) -> None:
    server.fail("vizier", Fault.HANGS, times=1)
    nursery.start(tmp_path, server.url("vizier"))
    while not server.count()["vizier"]:
        time.sleep(0.01)
    nursery.kill_workers()
    nursery.start(tmp_path, server.url("vizier"))
    assert int(nursery.said()[0]) > 10
    assert server.count()["vizier"] == 2


def damage_nothing(path: Path) -> None:
    """As it was."""


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("damage", "times"), [(damage_nothing, 1), (cut, 2), (flip, 2)])
def test_a_damaged_entry_is_fetched_anew(
    damage: Callable[[Path], None], times: int, server: SkyServer, ask: Callable[..., Remote],
    tmp_path: Path,
) -> None:  # fmt: skip
    remote = ask(skyrelay_cache_path=tmp_path / "cache")
    first = QUESTIONS["vizier"](remote)
    (entry,) = entries(tmp_path / "cache")
    damage(entry)
    second = QUESTIONS["vizier"](remote)
    assert len(first) == len(second)  # type: ignore[arg-type]
    assert server.count()["vizier"] == times
    assert len(entries(tmp_path / "cache")) == 1


def test_an_old_entry_is_fetched_anew_unless_offline(
    server: SkyServer, ask: Callable[..., Remote], tmp_path: Path
) -> None:
    options = {"skyrelay_cache_path": tmp_path / "cache", "skyrelay_cache_days_catalogues": 2}
    QUESTIONS["vizier"](ask(**options))
    (entry,) = entries(tmp_path / "cache")
    before = time.time() - 3 * 86400
    os.utime(entry, (before, before))
    assert QUESTIONS["vizier"](ask(offline=True, **options)) is not None
    assert server.count()["vizier"] == 1
    QUESTIONS["vizier"](ask(**options))
    assert server.count()["vizier"] == 2 and len(entries(tmp_path / "cache")) == 1


def put(cache: Cache, key: str, content: bytes) -> None:
    with cache.incoming() as file:
        file.write(content)
        cache.keep("service", key, file)


def has(cache: Cache, key: str) -> bool:
    file = cache.find("service", key, None)
    if file is None:
        return False
    file.close()
    return True


def test_what_was_not_used_for_the_longest_time_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000)
    for number, key in enumerate("abc"):
        put(cache, key, bytes(300))
        for path in tmp_path.glob("service/*/*"):
            status = path.stat()
            if status.st_atime > time.time() - 1000:
                os.utime(path, (time.time() - 5000 + number, status.st_mtime))
    assert has(cache, "a")
    put(cache, "d", bytes(300))
    assert [key for key in "abcd" if has(cache, key)] == ["a", "c", "d"]


def test_an_answer_stays_readable_when_its_entry_goes(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1e9)
    put(cache, "a", b"stars")
    with cache.find("service", "a", None) as file:  # type: ignore[union-attr]
        for path in entries(tmp_path):
            path.unlink()
        assert file.read() == b"stars"


def test_what_dead_processes_left_is_taken_away(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1e9)
    put(cache, "a", b"stars")
    before = time.time() - 2 * 86400
    left = [tmp_path / ".incoming" / "half", tmp_path / ".locks" / "failed"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("left")
        os.utime(path, (before, before))
    put(cache, "b", b"stars")
    assert not any(path.exists() for path in left)


def test_readers_never_see_half_an_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1e9)
    contents = [bytes([number]) * 200_000 for number in range(20)]

    def write() -> None:
        for content in contents:
            put(cache, "a", content)

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        while not all(writer.done() for writer in writers):
            file = cache.find("service", "a", None)
            if file is not None:
                with file:
                    assert file.read() in contents
        for writer in writers:
            writer.result()
    assert len(entries(tmp_path)) == 1


def test_without_a_usable_cache_the_answer_comes_all_the_same(
    server: SkyServer, ask: Callable[..., Remote], tmp_path: Path, log: list[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    remote = ask(skyrelay_cache_path=tmp_path / "file")
    assert len(QUESTIONS["vizier"](remote)) > 10  # type: ignore[arg-type]
    assert any("cache of the sky services cannot be used" in line for line in log)


def test_originals_have_a_folder_of_their_own_if_the_settings_say_so(
    ask: Callable[..., Remote], tmp_path: Path
) -> None:
    remote = ask(stdpipe_ps1_cache=tmp_path / "ps1", skyrelay_cache_path=tmp_path / "cache")
    QUESTIONS["ps1"](remote)
    QUESTIONS["vizier"](remote)
    assert {path.parts[-3] for path in entries(tmp_path / "ps1")} == {"ps1"}
    assert {path.parts[-3] for path in entries(tmp_path / "cache")} == {"vizier"}
