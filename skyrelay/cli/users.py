"""How does an operator make users and hand out their tokens?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from skyrelay.cli.installation import opened
from skyrelay.settings import get_settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from gateway.models import User


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
    with opened() as gateway, gateway.database.writing() as session:
        create_user(session, name, password, staff=staff)
    click.echo(f"Made the user {name}{' (staff)' if staff else ''}.", err=True)


@user.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def password(name: str, password_stdin: bool) -> None:
    """Give the user NAME another password; all browsers are logged out."""
    from gateway.accounts import passwords, tokens

    new = _password(password_stdin)
    with opened() as gateway, gateway.database.writing() as session:
        found = _found(session, name)
        passwords.check(new, name)
        found.password_hash = passwords.hash_of(new)
        tokens.end_sessions(session, found)
    click.echo(f"{name} has a new password.", err=True)


@user.command()
@click.argument("name")
def token(name: str) -> None:
    """Print the token of the user NAME; it is the same each time."""
    from gateway.accounts import key_of

    with opened() as gateway, gateway.database.writing() as session:
        click.echo(key_of(session, _found(session, name), get_settings().secret_key))


def _found(session: Session, name: str) -> User:
    from gateway.accounts import find_user

    found = find_user(session, name)
    if found is None:
        raise click.ClickException(f"There is no user {name}.")
    return found


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
