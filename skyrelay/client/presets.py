"""How does a program read and write presets?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skyrelay.client.answers import Preset
from skyrelay.client.transport import Transport


class PresetCalls(Transport):
    """Configurations, and files, that tasks may begin with; only administrators change them."""

    def presets(self) -> list[Preset]:
        """All presets."""
        return [Preset.model_validate(each) for each in self._json("GET", "presets/")]

    def preset(self, number: int) -> Preset:
        """One preset."""
        return Preset.model_validate(self._json("GET", f"presets/{number}/"))

    def create_preset(
        self, name: str, config: Mapping[str, Any], files: Sequence[str] = ()
    ) -> Preset:
        """Make a preset; ``files`` are those of the data folder that its tasks get."""
        body = {"name": name, "config": dict(config), "files": list(files)}
        return Preset.model_validate(self._json("POST", "presets/", json=body))

    def update_preset(self, number: int, **fields: Any) -> Preset:
        """Change name, config (replaced as a whole) or files."""
        return Preset.model_validate(self._json("PATCH", f"presets/{number}/", json=fields))

    def delete_preset(self, number: int) -> None:
        """Delete a preset; its tasks stay as they are."""
        self._request("DELETE", f"presets/{number}/")
