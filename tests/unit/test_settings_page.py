"""Is every setting written down?"""

from __future__ import annotations

import re
from pathlib import Path

from skyrelay.settings import Settings
from skyrelay.settings_page import as_markdown

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "docs" / "operations"
#: A setting in a text, alone or with a value.
_NAMED = re.compile(r"`((?:SKYRELAY|STDPIPE|SKYPORTAL)_[A-Z0-9_]*[A-Z0-9])[`=]")


def test_the_reference_of_settings_is_up_to_date() -> None:
    assert (OPERATIONS / "settings.md").read_text() == as_markdown()


def test_every_setting_says_what_it_means() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
    assert as_markdown().count("\n## ") == 9


def test_settings_that_the_manuals_name_exist() -> None:
    known = {name.upper() for name in Settings.model_fields}
    # Those of the Compose file, which no process reads.
    known |= set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    # Those that images are built with.
    known |= set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "scripts" / "images").read_text()))
    for page in [*OPERATIONS.glob("**/*.md"), ROOT / "docs" / "push.md"]:
        for name in _NAMED.findall(page.read_text()):
            assert name in known, (page.name, name)
