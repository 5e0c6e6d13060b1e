"""How would a night pass, reckoned second by second, without processes and queues?"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from benchmarks.scale.night import Image, Result


@dataclass
class _Replica:
    ready: float
    until: float = 0.0
    told_to_go: bool = False


class PaperReplicas:
    """Replicas on paper; ``start``: seconds from the decision for one to its first image."""

    def __init__(self, start: float) -> None:
        self.now = 0.0
        self._start = start
        self._queue: deque[Image] = deque()
        self._replicas: list[_Replica] = []
        self._waits: list[float] = []
        self._stopped_at_work = 0
        self._dice = random.Random(1)

    @property
    def present(self) -> int:
        return sum(not replica.told_to_go for replica in self._replicas)

    @property
    def leaving(self) -> int:
        return len(self._replicas) - self.present

    def order(self, image: Image) -> None:
        self._queue.append(image)

    def open(self) -> int:
        return len(self._queue) + sum(replica.until > self.now for replica in self._replicas)

    def start(self) -> None:
        self._replicas.append(_Replica(ready=self.now + self._start))

    def stop_any(self) -> None:
        leaves = self._dice.choice([each for each in self._replicas if not each.told_to_go])
        leaves.told_to_go = True
        self._stopped_at_work += leaves.until > self.now
        self._let_go()

    def sleep(self) -> None:
        self.now += 1.0
        self._let_go()
        for replica in self._replicas:
            if not self._queue:
                break
            if max(replica.ready, replica.until) <= self.now and not replica.told_to_go:
                image = self._queue.popleft()
                self._waits.append(self.now - image.arrives)
                replica.until = self.now + image.takes

    def account(self, result: Result) -> None:
        result.waits, result.stopped_at_work = self._waits, self._stopped_at_work

    def _let_go(self) -> None:
        self._replicas = [
            each for each in self._replicas if each.until > self.now or not each.told_to_go
        ]
