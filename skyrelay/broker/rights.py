"""What may each user of the broker do, and no more?

Patterns are those of RabbitMQ: to configure is to make and delete queues and exchanges, to write is
to publish to an exchange or to bind a queue, to read is to consume from a queue or to bind to an
exchange.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from skyrelay.broker import topology
from skyrelay.stages import STAGES

#: Everything of ours.
_ALL = r"^(skyrelay|work|retry|gateway)\..*$"
#: Queues that the broker has named itself: a replica's own, for kills.
_OWN = r"amq\.gen-.*"
_NOTHING = "^$"


@dataclass(frozen=True)
class Rights:
    """A user and its rights on our virtual host.

    ``publishes``, ``hears``: patterns of routing keys of the exchange of the events. ``tags``: what
    it may see of the management.
    """

    user: str
    configure: str = _NOTHING
    write: str = _NOTHING
    read: str = _NOTHING
    publishes: str = _NOTHING
    hears: str = _NOTHING
    tags: tuple[str, ...] = ()

    def commands(self, vhost: str) -> list[str]:
        """What an operator runs where the broker is; the first one asks for the password."""
        words = [
            ["add_user", self.user],
            ["set_user_tags", self.user, *self.tags],
            ["set_permissions", "-p", vhost, self.user, self.configure, self.write, self.read],
            [
                *("set_topic_permissions", "-p", vhost, self.user, topology.EVENTS.name),
                *(self.publishes, self.hears),
            ],
        ]
        return [shlex.join(["rabbitmqctl", *each]) for each in words]


def all_rights() -> tuple[Rights, ...]:
    """The users of an installation."""
    return (
        # It makes the whole topology; to name a dead-letter exchange takes the right to read the
        # queue and to write to the exchange.
        Rights("gateway", configure=_ALL, write=_ALL, read=_ALL, hears="^.*$"),
        # It takes work, tells of it, puts it off or aside, and hears kills; it sends none. It finds
        # the queues made, see SKYRELAY_DECLARE_TOPOLOGY.
        Rights(
            "stage",
            configure=rf"^(skyrelay\.kills|{_OWN})$",
            write=rf"^(skyrelay\.(work|events|dead|retry\..*)|{_OWN})$",
            read=rf"^(work\..*|skyrelay\.kills|{_OWN})$",
            publishes=rf"^({'|'.join(stage.step for stage in STAGES)})\.Stage\w+$",
        ),
        # Reads the lengths of queues for an autoscaler.
        Rights("monitor", tags=("monitoring",)),
    )
