"""``skyrelay``: what an operator and a user do at the command line."""

from __future__ import annotations

import click

from skyrelay.cli.users import user


@click.group()
def main() -> None:
    """Skyrelay takes astronomical images from stage to stage until their transients are known."""


main.add_command(user)
