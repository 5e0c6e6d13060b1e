"""How does an operator make users and hand out their tokens?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from skyrelay.errors import Permanent
from skyrelay.settings import get_settings

if TYPE_CHECKING:
    from gateway.core import Gateway


@click.group()
def user() -> None:
    """Users of this installation, and their tokens."""


@user.command()
@click.argument("name")
@click.option("--staff", is_flag=True, help="May see, change and delete everything.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--no-password", is_flag=True, help="Only tokens will open the door.")
def create(name: str, staff: bool, password_stdin: bool, no_password: bool) -> None:
    """Make the user NAME."""
    from gateway.accounts import create_user

    password = "" if no_password else _password(password_stdin)
    try:
        with _opened() as gateway, gateway.database.writing() as session:
            create_user(session, name, password, staff=staff)
    except Permanent as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Made the user {name}{' (staff)' if staff else ''}.", err=True)


@user.command()
@click.argument("name")
def token(name: str) -> None:
    """Print the token of the user NAME; it is the same each time."""
    from gateway.accounts import find_user, key_of

    with _opened() as gateway, gateway.database.writing() as session:
        found = find_user(session, name)
        if found is None:
            raise click.ClickException(f"There is no user {name}.")
        click.echo(key_of(session, found, get_settings().secret_key))


@contextmanager
def _opened() -> Iterator[Gateway]:
    """The gateway's parts, in this process, with the tables of this version."""
    from gateway.core import open_gateway
    from gateway.migrate import migrate

    try:
        gateway = open_gateway(get_settings())
    except Permanent as error:
        raise click.ClickException(str(error)) from error
    try:
        gateway.database.wait()
        migrate(gateway.database)
        yield gateway
    finally:
        gateway.close()


def _password(from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        raise click.UsageError("No terminal to ask for a password: use --password-stdin.")
    if not password:
        raise click.UsageError("The password is empty: use --no-password if that is meant.")
    return password
