"""How does a command reach the installation that its settings describe?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from skyrelay.errors import Permanent
from skyrelay.settings import get_settings

if TYPE_CHECKING:
    from gateway.core import Gateway


@contextmanager
def opened() -> Iterator[Gateway]:
    """The gateway's parts, in this process, with the tables of this version.

    What must not be, inside, ends the command with its sentence.
    """
    from gateway.core import open_gateway
    from gateway.migrate import migrate
    from gateway.new_store import make_store

    try:
        gateway = open_gateway(get_settings())
        try:
            gateway.database.wait()
            migrate(gateway.database)
            make_store(gateway)
            yield gateway
        finally:
            gateway.close()
    except Permanent as error:
        raise click.ClickException(str(error)) from error
