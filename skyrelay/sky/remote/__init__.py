"""How are the sky services of the world asked: kindly, patiently, and not twice for the same?"""

from __future__ import annotations

from skyrelay.sky.remote.answers import BadAnswer
from skyrelay.sky.remote.remote import Absent, Offline, Remote
from skyrelay.sky.remote.request import Request

__all__ = ["Absent", "BadAnswer", "Offline", "Remote", "Request"]
