"""Which tasks does a client name in the body of one request?"""

from __future__ import annotations

import re

from gateway.api.body import Body
from gateway.api.errors import invalid
from gateway.models import LARGEST_ID


def task_numbers(body: Body, most: int) -> list[int]:
    """The ``ids`` of the body, as in ``1,2 5-7`` or as a list: each once, in the order given.

    Raises
    ------
    ApiError
        400 if they are none, or more than ``most``.
    """
    given = body.fields.get("ids")
    text = ",".join(map(str, given)) if isinstance(given, list) else body.text("ids", 10_000)
    found: dict[int, None] = {}
    for part in re.split(r"[,\s]+", text.strip(", \t\r\n")):
        match = re.fullmatch(r"([0-9]{1,10})(?:-([0-9]{1,10}))?", part)
        if match is None:
            raise invalid(ids="Write numbers of tasks as in 1,2 5-7.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last > LARGEST_ID or last - first >= most:
            raise _too_many(most)
        found |= dict.fromkeys(range(first, last + 1))
    if len(found) > most:
        raise _too_many(most)
    return list(found)


def _too_many(most: int) -> Exception:
    return invalid(ids=f"At most {most} tasks are taken at once.")
