"""Do traces cost nothing where nobody wants them, and is a part of them a part of the runs?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from random import Random
from uuid import UUID

import pytest

from tests.support.collector import collector

#: Does what every process does in its life, and says which modules of OpenTelemetry it has.
LIFE = """
import sys, warnings
warnings.simplefilter("ignore")
import gateway.server, gateway.events, gateway.followups.process, skyrelay.stage.replica
from uuid import uuid4
from skyrelay import tracing
from skyrelay.messages import RunStage
from skyrelay.settings import get_settings
tracing.begin(get_settings(), "gateway-web")
command = RunStage(run=uuid4(), task=1, index=0, step="inspect", config="x")
headers = tracing.headers(command)
tracing.sent(command)
tracing.request("GET /", command.sent, 200, None, "")
tracing.followed("index", command.run, 1, command.sent, "")
tracing.end()
print(headers is None, any(name.startswith("opentelemetry") for name in sys.modules))
"""

#: What three processes leave of each run whose id stands in a line of the input; prints the headers
#: of its command.
PART_OF_THEM = """
import sys
from uuid import UUID
from skyrelay import tracing
from skyrelay.episodes import Ending, Episode, Kind
from skyrelay.messages import RunStage
from skyrelay.settings import get_settings
process = sys.argv[1]
tracing.begin(get_settings(), process)
for line in sys.stdin:
    run = UUID(line.strip())
    command = RunStage(run=run, task=1, index=0, step="inspect", config="x")
    if process == "gateway-web":
        tracing.request("POST /", command.sent, 200, run, "")
        print(tracing.headers(command)["traceparent"])
        tracing.sent(command)
    elif process == "inspect":
        tracing.attempt(command, (command.sent, command.sent), "done", ())
        seconds = command.sent.timestamp()
        tracing.episode(command, Episode(Kind.SKY, "vizier", Ending.OK, seconds, 1.0, 0))
    else:
        tracing.run_ended(run, 1, command.sent, ["inspect"], "done")
        tracing.followed("index", run, 1, command.sent, "")
tracing.end()
"""
PROCESSES = ("gateway-web", "inspect", "gateway-events")
#: The spans that they leave.
OF_A_RUN = {
    *("POST /", "send RunStage", "wait inspect", "inspect", "sky vizier"),
    *("run", "index"),
}

#: Answers two requests that a client traces, one that it keeps and one that it does not.
REQUESTS = """
from datetime import UTC, datetime
from skyrelay import tracing
from skyrelay.settings import get_settings
tracing.begin(get_settings(), "gateway-web")
for name, flags in (("kept", "01"), ("dropped", "00")):
    header = f"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}"
    tracing.request(name, datetime.now(UTC), 200, None, header)
tracing.end()
"""


@pytest.mark.parametrize(
    ("address", "said"), [("", "True False"), ("http://127.0.0.1:9", "False True")]
)
def test_opentelemetry_is_imported_only_where_somebody_wants_traces(
    address: str, said: str
) -> None:
    environment = os.environ | {
        "SKYRELAY_TRACES": address,
        # Nobody is there: who is asked to take spans shall not be waited for.
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", LIFE], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == said


@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_a_ratio_keeps_that_part_of_the_runs_and_each_of_them_whole(sampler: str) -> None:
    chance = Random(1)
    runs = [UUID(int=chance.getrandbits(128), version=4) for _ in range(1000)]
    settings = {
        "OTEL_TRACES_SAMPLER": sampler,
        "OTEL_TRACES_SAMPLER_ARG": "0.25",
        # More than all of them.
        "OTEL_BSP_MAX_QUEUE_SIZE": "10000",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
    }
    with collector() as made:
        settings["SKYRELAY_TRACES"] = made.address
        told = "\n".join(map(str, runs))
        said = [_done(PART_OF_THEM, process, told, settings) for process in PROCESSES]
        found = defaultdict(set)
        for span in made.spans:
            found[span.trace].add(span.name)
    assert 200 < len(found) < 300
    assert set(found) < set(runs)
    assert all(names == OF_A_RUN for names in found.values())
    headers = [line.split("-") for line in said[0].split()]
    assert [UUID(trace) for _, trace, _, _ in headers] == runs
    assert {UUID(trace) for _, trace, _, flags in headers if flags == "01"} == set(found)
    assert {flags for _, _, _, flags in headers} == {"00", "01"}


def test_whether_a_client_keeps_a_trace_is_heard_from_its_header() -> None:
    with collector() as made:
        settings = {"SKYRELAY_TRACES": made.address, "OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
        _done(REQUESTS, "", "", settings)
        assert [span.name for span in made.spans] == ["kept"]


def _done(script: str, process: str, told: str, settings: dict[str, str]) -> str:
    """What a process of its own says."""
    return subprocess.run(
        [sys.executable, "-c", script, process],
        env=os.environ | settings,
        input=told,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
