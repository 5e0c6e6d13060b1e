"""``skyrelay broker-rights``: how do the broker's users get their rights?"""

from __future__ import annotations

import click

from skyrelay.broker.rights import all_rights


@click.command("broker-rights")
@click.option("--vhost", default="/", show_default=True, help="Virtual host of AMQP_URI.")
def broker_rights(vhost: str) -> None:
    """Print the commands that make the broker's users, each with the rights it needs.

    Run them where the broker is. Each `add_user` asks for the user's new password.
    """
    for rights in all_rights():
        for command in rights.commands(vhost):
            click.echo(command)
