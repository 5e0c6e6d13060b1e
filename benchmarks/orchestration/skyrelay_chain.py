"""How fast does Skyrelay carry a chain of four stages that do nothing?"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from benchmarks.orchestration import processes, taps
from benchmarks.orchestration.api import Api
from benchmarks.orchestration.counted import counted_in
from benchmarks.orchestration.figures import Figures, Latency, Workload
from benchmarks.orchestration.installation import counts_of, installation, one_of_each
from benchmarks.orchestration.relay.stages import STAGES, STEPS
from skyrelay.stack.stack import Stack

#: Connections over which the chains that run at once are submitted.
CLIENTS = 4

#: Chains of which statements and messages are counted.
COUNTED = 20

#: Seconds in which an idle gateway is counted, and without a message that mean that all is over.
QUIET = 2.0

#: Seconds in which the chains that run at once must all be over.
PATIENCE = 600.0

#: Seconds between two looks at a chain that is not to be disturbed, or at all of them.
LOOK = 0.2


def measure(
    folder: Path,
    broker: tuple[str, int],
    workload: Workload,
    *,
    database_url: str | None,
    say: Callable[[str], None],
) -> Figures:
    """Start Skyrelay on the broker with this address and process id, and measure it."""
    amqp_uri, broker_pid = broker
    with installation(
        folder, amqp_uri, database_url=database_url, replicas=one_of_each(), say=say
    ) as stack:
        measurement = _Measurement(stack, amqp_uri, broker_pid)
        try:
            return measurement.of(workload, say)
        finally:
            measurement.close()


class _Measurement:
    def __init__(self, stack: Stack, amqp_uri: str, broker_pid: int) -> None:
        self._stack = stack
        self._amqp_uri = amqp_uri
        self._broker_pid = broker_pid
        self._api = self._new_api()

    def of(self, workload: Workload, say: Callable[[str], None]) -> Figures:
        say(f"Skyrelay: {workload.warm_up} chains to warm up.")
        self._all_at_once(workload.warm_up)
        say(f"Skyrelay: {workload.alone} chains, one at a time, watched.")
        seen, recorded = zip(*(self._watched(workload) for _ in range(workload.alone)), strict=True)
        say(f"Skyrelay: {workload.alone} chains, one at a time, undisturbed.")
        undisturbed, alone = self._undisturbed(workload)
        say(f"Skyrelay: {COUNTED} chains whose statements and messages are counted.")
        statements, commits, messages = self._counted()
        say(f"Skyrelay: {workload.at_once} chains at once.")
        memory = processes.memory(self._stack.processes)
        seconds, at_once = self._all_at_once(workload.at_once)
        memory_after = processes.memory(self._stack.processes)
        return Figures(
            seen=Latency.of(seen),
            recorded=Latency.of(recorded),
            undisturbed=Latency.of(undisturbed),
            cpu_alone=_each(alone.by_process, workload.alone),
            cpu_at_once=_each(at_once.by_process, workload.at_once),
            others=at_once.others,
            chains_at_once=workload.at_once,
            chains_per_second=workload.at_once / seconds,
            statements=statements,
            commits=commits,
            messages=sum(messages.values()),
            messages_by_exchange=messages,
            grown={name: size - memory[name] for name, size in memory_after.items()},
        )

    def close(self) -> None:
        self._api.close()

    def _watched(self, workload: Workload) -> tuple[float, float]:
        """Seconds until the client has read that the chain is over, and until it was."""
        task = self._api.new_task()
        time.sleep(workload.pause)
        begun = time.time()
        self._api.process(task, STEPS)
        while self._api.is_running(task):
            pass
        seen = time.time()
        return seen - begun, self._end_of(task) - begun

    def _undisturbed(self, workload: Workload) -> tuple[list[float], processes.Usage]:
        """Seconds until each chain was over, while nobody asked, and what that has used."""
        tasks = [self._api.new_task() for _ in range(workload.alone)]
        begun = []
        meter = self._meter()
        for task in tasks:
            time.sleep(workload.pause)
            begun.append(time.time())
            self._api.process(task, STEPS)
            time.sleep(LOOK)
            while self._api.is_running(task):
                time.sleep(LOOK)
        usage = meter.read()
        ends = [self._end_of(task) for task in tasks]
        return [end - begin for begin, end in zip(begun, ends, strict=True)], usage

    def _end_of(self, task: int) -> float:
        (run,) = self._api.get(f"tasks/{task}/runs/")
        if run["state"] != "done":
            raise RuntimeError(f"A chain ended as {run['state']}: {run}")
        return datetime.fromisoformat(run["ended"]).timestamp()

    def _counted(self) -> tuple[float, float, dict[str, float]]:
        """Statements, commits and messages per chain, less what an idle gateway sends."""
        counts = counts_of(self._stack.folder)
        tasks = [self._api.new_task() for _ in range(COUNTED)]
        before = counted_in(counts)
        time.sleep(QUIET)
        idle = counted_in(counts) - before
        with taps.tap(self._amqp_uri, taps.SKYRELAY) as tap:
            before, begun = counted_in(counts), time.monotonic()
            for task in tasks:
                self._api.process(task, STEPS)
                time.sleep(LOOK)
            messages: dict[str, int] = {}
            while (passed := tap.counts()) != messages:
                messages = passed
                time.sleep(QUIET)
            sent = counted_in(counts) - before
            share = (time.monotonic() - begun) / QUIET
        for task in tasks:
            self._end_of(task)
        return (
            (sent.statements - share * idle.statements) / COUNTED,
            (sent.commits - share * idle.commits) / COUNTED,
            {name: count / COUNTED for name, count in messages.items()},
        )

    def _all_at_once(self, chains: int) -> tuple[float, processes.Usage]:
        """Seconds from the first submission to the end of the last chain, and what it used."""
        tasks = [self._api.new_task() for _ in range(chains)]
        over_before = self._over()
        apis = [self._new_api() for _ in range(CLIENTS)]

        def submit(number: int) -> None:
            for task in tasks[number::CLIENTS]:
                apis[number].process(task, STEPS)

        meter, begun = self._meter(), time.time()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(submit, range(CLIENTS)))
        while self._over() < over_before + chains:
            if time.time() > begun + PATIENCE:
                raise RuntimeError(f"Not all of {chains} chains have ended well in {PATIENCE:g} s.")
            time.sleep(LOOK)
        usage = meter.read()
        for api in apis:
            api.close()
        return max(map(self._end_of, tasks)) - begun, usage

    def _over(self) -> int:
        return self._api.count(STAGES[-1].state_done)

    def _meter(self) -> processes.Meter:
        return processes.Meter({"broker": self._broker_pid, **self._stack.processes})

    def _new_api(self) -> Api:
        return Api(self._stack.base_url, self._stack.admin_token)


def _each(seconds: dict[str, float], chains: int) -> dict[str, float]:
    return {name: value / chains for name, value in seconds.items()}
