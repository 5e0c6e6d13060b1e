"""``python -m gateway web | events | followups | migrate``: the processes of the gateway."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import click
from sqlalchemy.exc import IntegrityError

from gateway.accounts.users import first_administrator
from gateway.core import Gateway, open_gateway
from gateway.migrate import migrate as migrate_tables
from gateway.new_store import make_store
from skyrelay.errors import Permanent
from skyrelay.exposition import FOLDER_VARIABLE
from skyrelay.logs import configure
from skyrelay.settings import get_settings


@click.group()
def main() -> None:
    """The gateway: tasks, their state, and the orchestration of their runs."""
    configure(get_settings())
    logging.getLogger("alembic").setLevel(logging.WARNING)


@main.command()
@click.option("--bind", default="127.0.0.1:8000", show_default=True, metavar="HOST:PORT")
def web(bind: str) -> None:
    """Serve the API."""
    _prepared().close()
    with _counting_together():
        from gateway.server import serve_web

        serve_web(get_settings(), bind)


@main.command()
def events() -> None:
    """Record what the stages say, and send the next ones on their way."""
    gateway = _prepared()
    with _counting_together():
        from gateway.events import serve_events

        try:
            serve_events(gateway)
        finally:
            gateway.close()


@main.command()
@click.option("--parent", type=int, required=True, help="Process that it ends with.")
def followups(parent: int) -> None:
    """Do what follows when something has happened. The process of the events starts it."""
    from skyrelay.stage.guard import die_with_parent

    # Before all that takes time: the parent may be killed meanwhile.
    die_with_parent(parent)
    from gateway.followups.process import serve_followups

    gateway = _prepared()
    try:
        serve_followups(gateway)
    finally:
        gateway.close()


@main.command()
def migrate() -> None:
    """Bring the database's tables to the form of this version. The others do it too."""
    _prepared().close()


@contextmanager
def _counting_together() -> Iterator[None]:
    """This process and its children tell their figures as one.

    Whatever counts is to be imported inside.
    """
    with TemporaryDirectory(prefix="skyrelay-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        yield


def _prepared() -> Gateway:
    """The gateway, with a database that answers and has its tables, and its store."""
    try:
        gateway = open_gateway(get_settings())
    except Permanent as error:
        raise click.ClickException(str(error)) from error
    gateway.database.wait()
    migrate_tables(gateway.database)
    make_store(gateway)
    try:
        with gateway.database.writing() as session:
            first_administrator(session, gateway.settings)
    except Permanent as error:
        raise click.ClickException(str(error)) from error
    except IntegrityError:
        pass  # Another process has just made the same one.
    return gateway


if __name__ == "__main__":
    sys.exit(main(prog_name="python -m gateway"))
