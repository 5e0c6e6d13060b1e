"""How does a test read what its own process logs, as JSON?"""

from __future__ import annotations

import logging
import sys
import threading
import warnings

import pytest

from skyrelay import logs
from skyrelay.settings import Settings


def log_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines as JSON on the error output, as it is captured now, until the test ends."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(logging, "_warnings_showwarning", None)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    logs.configure(Settings(_env_file=None, skyrelay_log_format="json"))
