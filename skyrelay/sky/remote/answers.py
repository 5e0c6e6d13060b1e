"""Is what a service sent a whole answer, and what does it say?

An answer is read completely before it is believed: what is cut short, empty or something else
altogether raises `BadAnswer`, and is never kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from astropy.io import fits
from astropy.io.votable import parse as parse_votable
from astropy.table import Table, vstack


class BadAnswer(Exception):
    """What came is no proper answer; the message says what is wrong with it, in a few words."""


def table(file: IO[bytes]) -> Table:
    """The rows of a VOTable of VizieR, XMatch or SkyBoT; an empty table if it has none."""
    head = file.read(512).lstrip()
    file.seek(0)
    if not head:
        raise BadAnswer("an empty answer")
    if not (head.startswith(b"<?xml") or b"VOTABLE" in head):
        raise BadAnswer("no VOTable")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            document = parse_votable(file, verify="ignore", invalid="mask")
        except Exception as error:  # the parsers of XML and of VOTable fail in dozens of ways
            raise BadAnswer(f"a broken VOTable ({_first_line(error)})") from None
        _raise_for_status(document)
        tables = [each.to_table(use_names_over_ids=True) for each in document.iter_tables()]
        full = [each for each in tables if len(each)]
        if len(full) > 1:
            return vstack(full, metadata_conflicts="silent")
    return full[0] if full else tables[0] if tables else Table()


@contextmanager
def opened_image(file: IO[bytes]) -> Iterator[fits.HDUList]:
    """The parts of a FITS file that is there to its last byte."""
    if not file.read(1):
        raise BadAnswer("an empty answer")
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message="File may have been truncated")
        try:
            parts = fits.open(file, lazy_load_hdus=False, memmap=False)
        except Exception as error:  # of a file that is none, astropy says so in many ways
            raise BadAnswer(f"no whole FITS file ({_first_line(error)})") from None
        try:
            yield parts
        finally:
            parts.close(closed=False)


def image(file: IO[bytes]) -> tuple[Any, fits.Header]:
    """Pixels and header of the first plane of a FITS file."""
    with opened_image(file) as parts:
        for part in parts:
            if part.is_image and part.header.get("NAXIS", 0) == 2:
                return np.asarray(part.data), part.header.copy()
    raise BadAnswer("a FITS file without an image")


def _raise_for_status(document: Any) -> None:
    """Services say in an INFO what they could not do; the answer has no rows then, or too few."""
    infos = list(document.infos)
    for resource in document.resources:
        infos += resource.infos
    for info in infos:
        text = " ".join(f"{info.value or ''} {info.content or ''}".split())[:200]
        status = info.name == "QUERY_STATUS" and info.value != "OK"
        failure = "error" in f"{info.name} {info.ID or ''}".lower()
        if (status or failure) and not text.lower().removeprefix("error").strip().startswith("no "):
            raise BadAnswer(f"an answer that says: {text}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
