"""``skyrelay``: what an operator and a user do at the command line."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import click
from dotenv import dotenv_values

#: Modules of the commands, each of which has its command under its name. They are imported when
#: they are wanted: then the settings are known on which they depend.
_COMMANDS = {
    "broker-rights": "skyrelay.cli.rights",
    "broker-users": "skyrelay.cli.broker_users",
    "catalogue": "skyrelay.cli.catalogues",
    "dead": "skyrelay.cli.dead",
    "doctor": "skyrelay.cli.doctor",
    "process": "skyrelay.cli.process",
    "task": "skyrelay.cli.client",
    "tasks": "skyrelay.cli.tasks",
    "user": "skyrelay.cli.users",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command


def _use(ctx: click.Context, parameter: click.Parameter, settings: Path | None) -> None:
    if settings is not None:
        os.environ |= {name: value for name, value in dotenv_values(settings).items() if value}


@click.group(cls=_Commands)
@click.option(
    "--settings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_use,
    is_eager=True,
    expose_value=False,
    help="File with the installation's settings, such as var/settings.env of `make up`.",
)
def main() -> None:
    """Skyrelay takes astronomical images from stage to stage until their transients are known."""
