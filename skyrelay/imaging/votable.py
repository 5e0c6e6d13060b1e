"""How is a table written as VOTable?"""

from __future__ import annotations

from pathlib import Path
from typing import IO

from astropy.io.votable import from_table
from astropy.io.votable.tree import VOTableFile
from astropy.table import Table


def write_votable(table: Table, target: Path | IO[bytes]) -> None:
    """Write the table as VOTable, in plain text, in place of what is there."""
    write_document(from_table(table), target)


def write_document(document: VOTableFile, target: Path | IO[bytes]) -> None:
    """Write a whole document in this way.

    The writer in C, which `Table.write` takes, is avoided: where a row fills its buffer to the
    last byte it writes one byte more (astropy 7.2), and the process dies of that much later.
    """
    destination = str(target) if isinstance(target, Path) else target
    document.to_xml(destination, _debug_python_based_parser=True)
