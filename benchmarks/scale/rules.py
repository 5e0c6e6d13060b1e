"""How many replicas does the cluster want? The rules are those of the autoscaler's manifest."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import click
import yaml

SCALING = Path(__file__).parents[2] / "deploy/kubernetes/components/autoscaling/scaling.yaml"

#: The number of replicas for a moment (s), a queue's length with what is in hand, and the number
#: that there is.
Decision = Callable[[float, int, int], int]


@dataclass(frozen=True)
class Rules:
    """A ScaledObject with the behaviour of its autoscaler; times in seconds.

    ``each``: messages for which there is to be a replica; ``cooldown``: time without any message
    after which the last replica goes; ``patience``: time for which fewer must have been wanted.
    """

    least: int
    most: int
    each: float
    poll: float
    cooldown: float
    patience: float
    up: tuple[dict[str, Any], ...]
    down: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, service: str) -> Self:
        """Those of the manifest."""
        for manifest in yaml.safe_load_all(SCALING.read_text()):
            if (manifest["kind"], manifest["metadata"]["name"]) == ("ScaledObject", service):
                spec = manifest["spec"]
                behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
                return cls(
                    least=spec["minReplicaCount"],
                    most=spec["maxReplicaCount"],
                    each=float(spec["triggers"][0]["metadata"]["value"]),
                    poll=spec["pollingInterval"],
                    cooldown=spec["cooldownPeriod"],
                    patience=behaviour["scaleDown"]["stabilizationWindowSeconds"],
                    up=tuple(behaviour["scaleUp"]["policies"]),
                    down=tuple(behaviour["scaleDown"]["policies"]),
                )
        raise click.BadParameter(f"there is no ScaledObject {service}")


class Autoscaler:
    """KEDA, which says whether there is any replica, and the cluster's own for their number."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._active = -math.inf
        self._wanted: deque[tuple[float, int]] = deque()
        self._before: deque[tuple[float, int]] = deque()

    def __call__(self, now: float, length: int, present: int) -> int:
        rules = self._rules
        if length:
            self._active = now
        if not present:
            return max(rules.least, min(1, length))
        if not rules.least and now - self._active > rules.cooldown:
            return 0
        wanted = min(max(math.ceil(length / rules.each), rules.least, 1), rules.most)
        self._note(now, wanted, present)
        if wanted > present:
            return min(wanted, max(self._limit(now, policy, 1) for policy in rules.up))
        calm = max(count for _, count in self._wanted)
        if calm < present:
            return max(calm, min(self._limit(now, policy, -1) for policy in rules.down))
        return present

    def _note(self, now: float, wanted: int, present: int) -> None:
        self._wanted.append((now, wanted))
        self._before.append((now, present))
        while self._wanted[0][0] < now - self._rules.patience:
            self._wanted.popleft()
        longest = max(policy["periodSeconds"] for policy in (*self._rules.up, *self._rules.down))
        while self._before[0][0] < now - longest:
            self._before.popleft()

    def _limit(self, now: float, policy: dict[str, Any], sign: int) -> int:
        """How far a policy lets the number go, from where it was at the beginning of its period."""
        since = [count for when, count in self._before if when > now - policy["periodSeconds"]]
        if policy["type"] == "Pods":
            return since[0] + sign * int(policy["value"])
        return math.ceil(since[0] * (1 + sign * policy["value"] / 100))
