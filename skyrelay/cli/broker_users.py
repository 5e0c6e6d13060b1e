"""``skyrelay broker-users``: how do the broker's users come to be without an operator?"""

from __future__ import annotations

import time

import click

from skyrelay.broker.users import ManagementAway, ManagementRefuses, make_users
from skyrelay.settings import get_settings

#: Seconds between two attempts while the broker is not there yet.
PAUSE = 2.0


@click.command("broker-users")
@click.option("--management", envvar="BROKER_MANAGEMENT", required=True, help="Its address.")
@click.option("--administrator", envvar="BROKER_ADMINISTRATOR", required=True)
@click.option("--password", envvar="BROKER_ADMINISTRATOR_PASSWORD", required=True)
@click.option("--gateway", envvar="BROKER_GATEWAY_URI", default="", help="AMQP_URI of the gateway.")
@click.option("--stage", envvar="BROKER_STAGE_URI", default="", help="AMQP_URI of the stages.")
@click.option("--monitor", envvar="BROKER_MONITOR_URI", default="", help="What KEDA asks.")
def broker_users(
    management: str, administrator: str, password: str, gateway: str, stage: str, monitor: str
) -> None:
    """Make the broker's users with the rights that they need, and set right those that are there.

    It asks the broker's management as an administrator, and waits until that answers. Every option
    is read from the environment, too: BROKER_MANAGEMENT, BROKER_ADMINISTRATOR,
    BROKER_ADMINISTRATOR_PASSWORD, BROKER_GATEWAY_URI, BROKER_STAGE_URI, BROKER_MONITOR_URI. A
    user's name and password are taken from its address; without one it is left alone.
    """
    authority = get_settings().skyrelay_broker_ca
    addresses = {"gateway": gateway, "stage": stage, "monitor": monitor}
    said = ""
    while True:
        try:
            for name in make_users(
                management,
                (administrator, password),
                addresses,
                str(authority) if authority else None,
            ):
                click.echo(f"{name} has its rights")
            return
        except ManagementAway as error:
            if said != (said := str(error)):
                click.echo(f"waiting for the broker's management: {error}", err=True)
            time.sleep(PAUSE)
        except (ManagementRefuses, ValueError) as error:
            raise click.ClickException(str(error)) from None
