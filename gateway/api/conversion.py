"""How does a client get a table in another format than the one in which it is kept?"""

from __future__ import annotations

from collections.abc import Generator
from itertools import chain, islice
from pathlib import Path, PurePosixPath

from flask import Response

from gateway.api.errors import refused
from gateway.contents import table
from gateway.measurements.votable import MOST_ROWS, Unreadable
from gateway.tables import FORMATS, STREAMED, stream, write

#: Endings of tables: that of the same name with the other one is the same table.
_TWINS = {".vot": ".parquet", ".parquet": ".vot"}
SUFFIXES = {"votable": "vot"}


def twin_of(path: str) -> str | None:
    """The name of the same table in another format; None for what is no table."""
    pure = PurePosixPath(path)
    return str(pure.with_suffix(_TWINS[pure.suffix])) if pure.suffix in _TWINS else None


def converted(path: Path, form: str) -> Response:
    """The table in this file, in the format ``form``, sent while it is read.

    Raises
    ------
    ApiError
        400 if there is no table that can be read.
    """
    pieces = _pieces(path, form)
    try:
        # What is wrong with a file is mostly seen before its first rows.
        first = list(islice(pieces, 2))
    except Unreadable as error:
        raise refused(400, f"{path.name} cannot be converted: {error}.") from error
    response = Response(chain(first, pieces), mimetype=FORMATS[form])
    response.call_on_close(pieces.close)
    name = f"{path.stem}.{SUFFIXES.get(form, form)}"
    response.headers.set("Content-Disposition", "attachment", filename=name)
    return response


def _pieces(path: Path, form: str) -> Generator[bytes]:
    with table.opened(path) as found:
        if form in STREAMED:
            yield from stream(found.columns, found.batches, form, path.stem)
            return
        if found.count > MOST_ROWS:
            raise Unreadable(f"it has more than {MOST_ROWS} rows, and {form} is written whole")
        rows = [row for batch in found.batches for row in batch]
        yield write(found.columns, rows, form, path.stem)
