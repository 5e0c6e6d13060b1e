"""How long may what comes before the body of a request be?"""

from __future__ import annotations

#: Bytes of the first line, with method and address; the most that gunicorn allows.
REQUEST_LINE = 8190
#: Bytes of one header, and how many there may be.
HEADER_SIZE, HEADERS = 8190, 100
