"""What does the reference of all settings look like? ``python -m skyrelay.settings_page``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from skyrelay.settings import Settings

_HEAD = """# Settings

Made from `skyrelay/settings.py` by `make docs`; do not edit by hand.

All processes read these from the environment, or from a file `.env` beside them. Lists are written
as JSON (`[10, 60]`), unless it says otherwise. The Compose file
hands on, from its `.env`, all that is not fixed inside the containers.
"""
#: The first setting of each section, in the order in which they stand.
_SECTIONS = {
    "amqp_uri": "Broker, database and files",
    "skyrelay_lane": "Stages and their queues",
    "skyrelay_web_workers": "The gateway",
    "skyrelay_announce_candidates": "Announcements, webhooks and watched folders",
    "skyrelay_max_upload": "Users and what they may do",
    "skyportal_base_url": "SkyPortal",
    "skyrelay_log_level": "Logs and traces",
    "skyrelay_offline": "The sky services",
    "stdpipe_ps1_cache": "External programs",
}


def as_markdown() -> str:
    """The reference of all settings as one Markdown page."""
    return "\n".join([_HEAD, *_rows()]) + "\n"


def _rows() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        if name in _SECTIONS:
            yield f"\n## {_SECTIONS[name]}\n\n| setting | default | meaning |\n|---|---|---|"
        yield f"| `{name.upper()}` | {_shown(field.default)} | {field.description} |"


def _shown(default: Any) -> str:
    """A default as it would be written; nothing where there is none."""
    if default in (None, "", ()) or isinstance(default, SecretStr):
        return ""
    if isinstance(default, str | Path):
        return f"`{default}`"
    return f"`{json.dumps(default)}`"


if __name__ == "__main__":
    print(as_markdown(), end="")
