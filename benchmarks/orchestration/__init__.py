"""What does it cost to hand an image from stage to stage, when the stages do nothing?"""

from __future__ import annotations

import importlib
import os

# The registry of stages reads it when it is first imported, here and in every process below us.
os.environ["SKYRELAY_EXTRA_STAGES"] = "benchmarks.orchestration.relay.stages"
# And it is to be imported before the stages, which import it.
importlib.import_module("skyrelay.stages")
