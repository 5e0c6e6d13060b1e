"""How does a test get a cluster of three RabbitMQ nodes, and cut one of them off from the others?

Each node lives in a network namespace of its own, with two cables to the machine: one for its
clients, one for the other nodes. To pull the second is a real partition: packets vanish, no
connection is closed, and clients can still reach both sides. It needs root and iproute2.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from skyrelay.stack.broker_node import BrokerNode, Place

#: Client, distribution and port mapper ports; whatever else runs, in a new namespace they are free.
PORTS = (5672, 25672, 4369)

#: Seconds after which a silent neighbour counts as down, more or less: the default of 60 is for
#: people, and a node that got no processor for a while is not to be taken for one.
NET_TICKTIME = 10

#: Bound for a node that hangs; three of them at once take long on a busy machine.
START_SECONDS = 300.0

CONFIGURATION = f"""\
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = pause_minority
net_ticktime = {NET_TICKTIME}
"""


class Lan:
    """Two networks of this machine, and namespaces with a cable to each of them."""

    def __init__(self, members: int) -> None:
        self._name = f"sky{secrets.token_hex(2)}"
        #: 198.18.0.0/15 is set aside for tests of networks.
        self._net = f"198.18.{random.SystemRandom().randrange(0, 256, 2)}"
        self._inner = self._net.rpartition(".")[0] + f".{int(self._net.rpartition('.')[2]) + 1}"
        self._members = range(members)

    def __enter__(self) -> Lan:
        for network, prefix in (("c", self._net), ("n", self._inner)):
            bridge = self._name + network
            _ip("link", "add", bridge, "type", "bridge")
            _ip("address", "add", f"{prefix}.1/24", "dev", bridge)
            _ip("link", "set", bridge, "up")
        for member in self._members:
            space = self._space(member)
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
            for network, address in (("c", self.host(member)), ("n", self.inner_host(member))):
                cable, inside = self._cable(member, network), f"eth{network}"
                _ip("link", "add", cable, "type", "veth", "peer", "name", inside, "netns", space)
                _ip("link", "set", cable, "master", self._name + network, "up")
                _ip("-n", space, "address", "add", f"{address}/24", "dev", inside)
                _ip("-n", space, "link", "set", inside, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            _ip("netns", "delete", self._space(member), check=False)
        for network in "cn":
            _ip("link", "delete", self._name + network, check=False)

    def host(self, member: int) -> str:
        """Address of a member for clients."""
        return f"{self._net}.{member + 11}"

    def inner_host(self, member: int) -> str:
        """Address of a member for other members."""
        return f"{self._inner}.{member + 11}"

    def within(self, member: int) -> tuple[str, ...]:
        """Command that runs another one where a member lives."""
        return ("ip", "netns", "exec", self._space(member))

    def pull(self, member: int) -> None:
        """Pull the cable between a member and the other members."""
        _ip("link", "set", self._cable(member, "n"), "down")

    def plug(self, member: int) -> None:
        """Put it in again."""
        _ip("link", "set", self._cable(member, "n"), "up")

    def _space(self, member: int) -> str:
        return f"{self._name}-{member}"

    def _cable(self, member: int, network: str) -> str:
        return f"{self._name}{network}{member}"


class BrokerCluster:
    """Three nodes that are one broker."""

    def __init__(self, folder: Path, lan: Lan, size: int = 3) -> None:
        self._lan = lan
        self.nodes = self._make(folder, size)

    def start(self) -> None:
        """Start all nodes; the first alone, for the others to join it."""
        self.nodes[0].start(START_SECONDS)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.start(START_SECONDS), self.nodes[1:]))

    def kill(self) -> None:
        """End all nodes at once."""
        for node in self.nodes:
            node.kill()

    def add_vhost(self, name: str) -> str:
        """Make a virtual host; the addresses of all nodes for it."""
        self.nodes[0].add_vhost(name)
        return self.uri_of(name)

    def uri_of(self, vhost: str) -> str:
        """Addresses of all nodes for a virtual host."""
        return ";".join(node.uri_of(vhost) for node in self.nodes)

    def cut_off(self, node: int) -> None:
        """Partition one node from the others; clients can still reach all of them."""
        self._lan.pull(node)

    def heal(self) -> None:
        """End the partition."""
        for node in range(len(self.nodes)):
            self._lan.plug(node)

    def neighbours(self, node: int) -> int:
        """How many nodes of the running broker a node sees, itself included; 0 if it pauses."""
        return int(self.nodes[node].evaluate("length(rabbit_nodes:all_running())."))

    def all_neighbours(self) -> list[int]:
        """The same of every node."""
        return [self.neighbours(node) for node in range(len(self.nodes))]

    def logs(self) -> str:
        """What all nodes have logged last."""
        return "\n".join(
            "\n".join([f"== {n.log}", *n.log.read_text().splitlines()[-60:]]) for n in self.nodes
        )

    def members_of(self, vhost: str, queue: str) -> int:
        """On how many nodes a quorum queue is replicated."""
        name = f'rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>)'
        return int(
            self.nodes[0].evaluate(
                f"{{ok, Q}} = rabbit_amqqueue:lookup({name}), "
                "length(maps:get(nodes, amqqueue:get_type_state(Q)))."
            )
        )

    def _make(self, folder: Path, size: int) -> list[BrokerNode]:
        places = [
            Place(
                self._lan.host(i),
                self._lan.inner_host(i),
                f"skyrelay@{self._lan.inner_host(i)}",
                self._lan.within(i),
            )
            for i in range(size)
        ]
        peers = "".join(
            f"cluster_formation.classic_config.nodes.{i + 1} = {place.name}\n"
            for i, place in enumerate(places)
        )
        words = {name: secrets.token_hex(16) for name in ("password", ".erlang.cookie")}
        nodes = []
        for i, place in enumerate(places):
            own = folder / str(i)
            own.mkdir(parents=True)
            for name, word in words.items():
                (own / name).write_text(word)
                (own / name).chmod(0o400)
            configuration = CONFIGURATION + (peers if i else "")
            nodes.append(BrokerNode(own, place=place, ports=PORTS, configuration=configuration))
        return nodes


@contextmanager
def broker_cluster(folder: Path) -> Iterator[BrokerCluster]:
    """A running cluster; the calling test is skipped where there can be no namespaces."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a partition needs root and iproute2 (apt-get install iproute2)")
    try:
        with Lan(3) as lan:
            made = BrokerCluster(folder, lan)
            try:
                made.start()
                yield made
            finally:
                made.kill()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)
