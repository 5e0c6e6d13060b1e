"""How long may a stage take, so that nobody takes its message away meanwhile?"""

from __future__ import annotations

#: A message that is not acknowledged within this time is taken from its consumer and given to the
#: next one, for ever. The broker's default of half an hour is too short for some stages. Queues ask
#: for it, so another value is another topology: see `skyrelay.broker.topology.TopologyConflict`.
CONSUMER_TIMEOUT_MS = 24 * 3600 * 1000

#: Seconds for what comes before and after the science while the message is held: waiting for a warm
#: worker, the end of the processes, publication, and a broker that is away when it is told.
_AROUND = 3600.0

#: Seconds that a stage may be allowed at most, whoever says so.
LONGEST = CONSUMER_TIMEOUT_MS / 1000 - _AROUND
