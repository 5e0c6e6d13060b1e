"""Are there workers again, whatever was in the way of their start?"""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import types
import warnings

warnings.simplefilter("ignore")
import eventlet

eventlet.monkey_patch()
from skyrelay.settings import Settings
from skyrelay.stage.pool import WorkerPool

slots = []
pool = WorkerPool()
pool.container = types.SimpleNamespace(
    config={"SETTINGS": Settings(_env_file=None)},
    service_name="inspect",
    spawn_managed_thread=lambda work, identifier: slots.append(eventlet.spawn(work)),
)
python, sys.executable = sys.executable, "/nowhere"
pool.setup()
eventlet.sleep(0.1)
assert slots and not any(slot.dead for slot in slots)
assert not pool.healthy
sys.executable = python
while not pool.healthy:
    eventlet.sleep(0.05)
pool.stop()
print("healthy")
"""


def test_a_worker_that_could_not_be_started_is_started_when_it_can() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.stdout == "healthy\n", answer.stderr
