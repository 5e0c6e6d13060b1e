"""``skyrelay``: what an operator and a user do at the command line."""

from __future__ import annotations

import os
from pathlib import Path

import click
from dotenv import dotenv_values

from skyrelay.cli.catalogues import catalogue
from skyrelay.cli.dead import dead
from skyrelay.cli.process import process
from skyrelay.cli.users import user


@click.group()
@click.option(
    "--settings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the installation's settings, such as var/settings.env of `make up`.",
)
def main(settings: Path | None) -> None:
    """Skyrelay takes astronomical images from stage to stage until their transients are known."""
    if settings is not None:
        os.environ |= {name: value for name, value in dotenv_values(settings).items() if value}


main.add_command(dead)
main.add_command(process)
main.add_command(user)
main.add_command(catalogue)
