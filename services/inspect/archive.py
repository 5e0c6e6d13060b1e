"""How does a task give its room back and stay what it is?"""

from __future__ import annotations

from services.inspect.cleanup import remove_all_but
from skyrelay.products import BROUGHT, FRINGE_MODEL
from skyrelay.stage.context import StageContext


def run(context: StageContext) -> None:
    """Remove all that the stages have made; what the user has brought and set stays.

    The configuration stays as a whole, with all that was found out: what was removed can be made
    again.
    """
    remove_all_but(context, {*BROUGHT, FRINGE_MODEL})
