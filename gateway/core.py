"""What do all parts of a gateway process share?"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.database import Database
from gateway.listings import Listings
from gateway.orchestration.outbox import Outbox
from gateway.orchestration.patience import Patience
from skyrelay.errors import Permanent
from skyrelay.settings import Settings
from skyrelay.store import TaskStore, open_store

_SECRET_KEY_LENGTH = 16


@dataclass(frozen=True)
class Gateway:
    """Settings, database, task store, outbox and lists of one process."""

    settings: Settings
    database: Database
    store: TaskStore
    outbox: Outbox
    listings: Listings
    patience: Patience = field(default_factory=Patience)

    def close(self) -> None:
        """Stop publishing and give the connections back."""
        self.outbox.stop()
        self.database.close()


def open_gateway(settings: Settings) -> Gateway:
    """The gateway as the settings say.

    Raises
    ------
    Permanent
        If a setting is missing without which it cannot be run safely.
    """
    if len(settings.secret_key) < _SECRET_KEY_LENGTH:
        raise Permanent(
            f"SECRET_KEY is missing or shorter than {_SECRET_KEY_LENGTH} characters: set it to a "
            "long random text, the same for all gateway processes and for ever."
        )
    database = Database(settings.database_url)
    store = open_store(settings)
    outbox = Outbox(database, store, settings.amqp_uri, settings.skyrelay_heartbeat)
    return Gateway(settings, database, store, outbox, Listings(database))
