"""Do traces cost nothing where nobody wants them?"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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


@pytest.mark.parametrize(
    ("collector", "said"), [("", "True False"), ("http://127.0.0.1:9", "False True")]
)
def test_opentelemetry_is_imported_only_where_somebody_wants_traces(
    collector: str, said: str
) -> None:
    environment = os.environ | {
        "SKYRELAY_TRACES": collector,
        # Nobody is there: who is asked to take spans shall not be waited for.
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", LIFE], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == said
