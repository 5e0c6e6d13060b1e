"""How do tasks that came from elsewhere get what tasks that are made here have?

The packages of the stage services are needed for this; the gateway's own do not suffice.
"""

from __future__ import annotations

from typing import Any

from astropy.table import Table

from gateway.core import Gateway
from gateway.models import Task
from skyrelay.errors import Permanent
from skyrelay.imaging.fits import read_image
from skyrelay.imaging.wcs import load_wcs, sky_field
from skyrelay.products import CATALOGUE, IMAGE, OBJECTS

#: Tables that older versions of STDWeb have left as VOTables.
_TABLES = (OBJECTS, CATALOGUE)


def is_located(task: Task) -> bool:
    """Whether all is known of where the task's image lies on the sky."""
    return None not in (task.ra, task.dec, task.radius, task.pixel_scale, task.moc)


def locate(gateway: Gateway, task: Task) -> bool:
    """Find out from its files where the image of the locked task lies; False: they do not tell.

    Raises
    ------
    Permanent
        If there is no image that can be read.
    """
    folder = gateway.store.folder(task.id)
    if not (folder / IMAGE).exists():
        raise Permanent(f"There is no {IMAGE}.")
    image = read_image(folder / IMAGE)
    height, width = image.data.shape
    wcs = load_wcs(folder, image.header, (height, width))
    if wcs is None:
        return False
    field = sky_field(wcs, (height, width))
    task.ra, task.dec, task.radius = field.ra, field.dec, field.radius
    task.pixel_scale, task.moc = field.pixel_scale, field.moc
    return True


def convert_tables(gateway: Gateway, task: Task) -> list[str]:
    """Make Parquet files of the VOTables of the locked task; the names of those that were made.

    A VOTable beside a Parquet file of the same name is old, and removed as well.

    Raises
    ------
    Permanent
        If a VOTable cannot be read; it stays.
    """
    store, made = gateway.store, []
    for name in _TABLES:
        old = f"{name.removesuffix('.parquet')}.vot"
        if not (store.folder(task.id) / old).exists():
            continue
        if not (store.folder(task.id) / name).exists():
            table = _read_votable(store.folder(task.id) / old)
            with store.incoming() as received:
                table.write(received.name, format="parquet", overwrite=True)
                store.complete(received)
                store.adopt(task.id, name, received)
            made.append(name)
        store.remove(task.id, old)
    return made


def _read_votable(path: Any) -> Table:
    try:
        table = Table.read(path, format="votable")
    except Exception as error:
        # What a damaged VOTable makes astropy raise is not to be foretold.
        raise Permanent(f"{path.name} cannot be read: {error}") from error
    # Parquet takes neither the descriptions of a VOTable nor its Python objects.
    table.meta.clear()
    for name in table.colnames:
        if table[name].dtype.kind == "O":
            table[name] = [str(value) for value in table[name]]
    return table
