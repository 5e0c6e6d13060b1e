"""How does a test copy a database and put the copy back, as docs/operations/backup.md says?"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.support.postgres import Cluster


def dump(request: pytest.FixtureRequest, url: str, path: Path) -> None:
    """Copy the database at this address into a file."""
    if url.startswith("sqlite"):
        # What `.backup` of its command does.
        with closing(sqlite3.connect(_file_of(url))) as source:
            with closing(sqlite3.connect(path)) as copy:
                source.backup(copy)
        return
    with path.open("wb") as output:
        subprocess.run(
            [_postgres(request).program("pg_dump"), "-Fc", url], stdout=output, check=True
        )


def restore(request: pytest.FixtureRequest, path: Path, url: str) -> None:
    """Put the copy in the place of the database at this address, which nobody uses."""
    if url.startswith("sqlite"):
        file = _file_of(url)
        for end in ("-wal", "-shm"):
            file.with_name(f"{file.name}{end}").unlink(missing_ok=True)
        shutil.copyfile(path, file)
        return
    cluster = _postgres(request)
    name = url.rpartition("/")[2]
    maintenance = ("--maintenance-db", cluster.url())
    for program, *arguments in (
        ("dropdb", *maintenance, "--force", "--if-exists", name),
        ("createdb", *maintenance, name),
        ("pg_restore", "-d", url, "--no-owner", path),
    ):
        subprocess.run([cluster.program(str(program)), *arguments], check=True)


def _file_of(url: str) -> Path:
    return Path(str(make_url(url).database))


def _postgres(request: pytest.FixtureRequest) -> Cluster:
    cluster: Cluster = request.getfixturevalue("postgres")
    return cluster
