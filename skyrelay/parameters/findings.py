"""What in a configuration have the stages found out, and how is it taken back?"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from skyrelay.parameters.table import PARAMETERS

#: Parameters that are found out from the image and the target where the user does not set them.
DERIVED = (
    *("gain", "saturation", "filter", "time", "bg_size", "cat_name", "template"),
    *("subtraction_mode", "blind_match_wcs", "blind_match_center"),
)


def found_out(config: dict[str, Any], set_by_user: Set[str]) -> dict[str, Any]:
    """The derived parameters of ``config`` that the user has not set, for `forget` to know."""
    return {name: config[name] for name in DERIVED if name in config and name not in set_by_user}


def forget(config: dict[str, Any]) -> None:
    """Take back what an earlier inspection found out, and what the stages after it measured.

    The image or the target may be another one by now. What the user has set since then stays.
    """
    found = config.get("inspected") or {}
    if config.get("blind_matched") and not config.get("blind_match_wcs"):
        # The photometry has turned it off, as the solution was there.
        config["blind_match_wcs"] = True
    for name in DERIVED:
        value = config.get(name)
        if value in (None, "") or (name in found and found[name] == value):
            config.pop(name, None)
    for name, parameter in PARAMETERS.items():
        if parameter.measured:
            config.pop(name, None)
