"""How does a file that is ready become a task?

A file for which its user's quota has no room waits, and is tried again now and then: those of a
watched folder always, those of a batch where only other runs have to end.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from gateway import local_files
from gateway.accounts.quotas import QuotaExceeded, check_bytes, check_run, check_task
from gateway.audit import entries_of_run, remember
from gateway.core import Gateway
from gateway.followups import observation
from gateway.followups.intake.files import fingerprint
from gateway.lifetime import PresetFileMissing, made, preset_files, start_first
from gateway.models import (
    IS_READY,
    IS_WAITING,
    Group,
    Intake,
    IntakeFile,
    IntakeKind,
    IntakeState,
    Preset,
    Task,
    User,
    now,
)
from skyrelay import logs
from skyrelay.products import IMAGE
from skyrelay.store.files import is_full

_log = logging.getLogger(__name__)

_CHUNK = 1024 * 1024
#: How long a file waits for room before it is tried again, and how many are at once.
PAUSE = timedelta(minutes=1)
_TRIED_AT_ONCE = 100
_LONGEST_NAME = 250
_FOR_NOW = {IntakeState.WAITING: " for now"}
_GONE = "It is gone."


class _Refused(Exception):
    """The file will never be a task: says why."""


class _NoRoom(Exception):
    """The user's quota is used up just now: says which."""


def take(gateway: Gateway) -> bool:
    """Make a task of the next file that is ready; whether there was one."""
    ready = (
        select(IntakeFile, Intake)
        .join(Intake, Intake.id == IntakeFile.intake_id)
        .where(IS_READY, Intake.active)
        .order_by(IntakeFile.id)
        .limit(1)
    )
    with gateway.database.reading() as session:
        found = session.execute(ready).first()
    if found is None:
        return False
    file, intake = found
    with logs.about():
        _take_or_refuse(gateway, file, intake)
    return True


def try_again(gateway: Gateway) -> None:
    """Let some of those that wait for room be tried, the one that waits longest first."""
    waiting = (
        select(IntakeFile.id)
        .join(Intake, Intake.id == IntakeFile.intake_id)
        .where(IS_WAITING, IntakeFile.seen <= now() - PAUSE, Intake.active)
        .order_by(IntakeFile.seen, IntakeFile.id)
        .limit(_TRIED_AT_ONCE)
    )
    with gateway.database.reading() as session:
        found = session.scalars(waiting).all()
    if found:
        with gateway.database.writing() as session:
            session.execute(
                update(IntakeFile)
                .where(IntakeFile.id.in_(found), IntakeFile.state == IntakeState.WAITING)
                .values(state=IntakeState.READY)
            )


def _take_or_refuse(gateway: Gateway, file: IntakeFile, intake: Intake) -> None:
    try:
        _take(gateway, intake, file)
    except _Refused as error:
        _settle(gateway, file, IntakeState.REFUSED, str(error))
    except _NoRoom as error:
        _settle(gateway, file, IntakeState.WAITING, str(error))
    except OSError as error:
        if is_full(error) or not gateway.store.answers():
            raise
        _settle(gateway, file, IntakeState.REFUSED, f"It cannot be read: {error.strerror}.")


def _take(gateway: Gateway, intake: Intake, file: IntakeFile) -> None:
    with gateway.database.reading() as session:
        preset = session.get(Preset, intake.preset_id) if intake.preset_id else None
    try:
        size = local_files.find(gateway.settings, file.path).stat().st_size
    except FileNotFoundError as error:
        raise _Refused(_GONE) from error
    with gateway.database.writing() as session:
        # Not only at the end: a file that waits is not copied at every try.
        _owner_with_room(gateway, session, intake, size)
    with ExitStack() as received:
        image = received.enter_context(gateway.store.incoming())
        checksum = _copy(gateway, file, image)
        files = {IMAGE: image}
        try:
            for path in preset_files(gateway, preset):
                files[path.name] = received.enter_context(gateway.store.incoming())
                local_files.copy(path, files[path.name])
        except PresetFileMissing as error:
            raise _Refused(f"The preset cannot be used: {error}") from error
        for content in files.values():
            gateway.store.complete(content)
        with gateway.database.writing() as session:
            _make_task(gateway, session, intake.id, file.id, checksum, files)


def _copy(gateway: Gateway, file: IntakeFile, target: IO[bytes]) -> str:
    """Copy the file; the SHA-256 of its content."""
    try:
        path = local_files.find(gateway.settings, file.path)
        digest = hashlib.sha256()
        with path.open("rb") as source:
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                target.write(chunk)
            changed = file.fingerprint and fingerprint(os.fstat(source.fileno())) != (
                file.fingerprint
            )
    except FileNotFoundError as error:
        raise _Refused(_GONE) from error
    if changed:
        # Somebody writes it anew: as it is then, it is another file, and seen as one.
        raise _Refused("It was changed while it was taken.")
    return digest.hexdigest()


def _make_task(
    gateway: Gateway,
    session: Session,
    intake_id: int,
    file_id: int,
    checksum: str,
    files: Mapping[str, IO[bytes]],
) -> None:
    # Of all that take files of this folder, one at a time decides.
    intake = session.scalar(select(Intake).where(Intake.id == intake_id).with_for_update())
    file = session.get(IntakeFile, file_id)
    if intake is None or file is None or file.state != IntakeState.READY:
        return
    file.checksum = checksum
    twin = session.scalar(
        select(IntakeFile)
        .where(
            IntakeFile.intake_id == intake_id,
            IntakeFile.checksum == checksum,
            IntakeFile.state == IntakeState.TAKEN,
        )
        .limit(1)
    )
    if twin is not None:
        file.state, file.task_id = IntakeState.DUPLICATE, twin.task_id
        file.reason = f"It is the same as {twin.path}."
        observation.FILES.labels(IntakeState.DUPLICATE.value).inc()
        return
    size = sum(os.fstat(content.fileno()).st_size for content in files.values())
    user = _owner_with_room(gateway, session, intake, size)
    preset = session.get(Preset, intake.preset_id) if intake.preset_id else None
    task = Task(
        original_name=Path(file.path).name[-_LONGEST_NAME:],
        title="",
        state="uploaded",
        user=user,
        config=(preset.config if preset else {}) | intake.config,
        groups=list(session.scalars(select(Group).where(Group.name.in_(intake.groups)))),
        reasons=[],
    )
    with made(gateway, session, task, files):
        run = start_first(gateway, session, task, intake.steps, intake.priority)
        file.state, file.task_id, file.reason = IntakeState.TAKEN, task.id, ""
        remember(
            session,
            "task_create",
            user=user,
            task_id=task.id,
            original_name=task.original_name,
            source=intake.kind,
            intake=intake.id,
        )
        for action, details in entries_of_run(run, task.config, task.config) if run else ():
            remember(session, action, user=user, task_id=task.id, **details)
    observation.FILES.labels(IntakeState.TAKEN.value).inc()


def _owner_with_room(gateway: Gateway, session: Session, intake: Intake, size: int) -> User:
    """The user for whom a file of this size is taken."""
    user = session.get(User, intake.user_id)
    if user is None or not user.is_active:
        raise _Refused("The user for whom it was to be taken is not active.")
    try:
        check_task(gateway, session, user)
        check_bytes(gateway, session, user, size)
        if intake.steps:
            check_run(gateway, session, user)
    except QuotaExceeded as error:
        waits = intake.kind == IntakeKind.WATCH or error.kind == "runs"
        raise (_NoRoom if waits else _Refused)(str(error)) from error
    return user


def _settle(gateway: Gateway, file: IntakeFile, state: IntakeState, reason: str) -> None:
    _log.warning("%s becomes no task%s: %s", file.path, _FOR_NOW.get(state, ""), reason)
    observation.FILES.labels(state.value).inc()
    values: dict[str, Any] = {"state": state, "reason": reason}
    if state == IntakeState.WAITING:
        values |= {"seen": now()}  # From here on it waits.
    with gateway.database.writing() as session:
        session.execute(
            update(IntakeFile)
            .where(IntakeFile.id == file.id, IntakeFile.state == IntakeState.READY)
            .values(**values)
        )
