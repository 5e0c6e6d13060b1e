"""How does an observatory prepare a catalogue for use without the network?"""

from __future__ import annotations

from pathlib import Path

import click

from skyrelay.errors import Permanent
from skyrelay.settings import get_settings


@click.group()
def catalogue() -> None:
    """Reference catalogues on this installation's disk."""


@catalogue.command("import")
@click.argument("name")
@click.argument(
    "tables", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--rows",
    default=1_000_000,
    show_default=True,
    type=click.IntRange(1000),
    help="Of a partition.",
)
@click.option("--replace", is_flag=True, help="Put it in the place of one with this name.")
def import_(name: str, tables: tuple[Path, ...], rows: int, replace: bool) -> None:
    """Make the catalogue NAME in the data folder of one or more TABLES.

    Tasks use it with cat_name=local and cat_file=NAME. Any table that astropy reads will do; all
    must have the same columns. Parquet files may be larger than the memory.
    """
    try:
        from skyrelay.sky.hats_import import import_tables
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"This needs the packages of the stage services ({error.name} is missing here)."
        ) from error
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise click.UsageError("NAME must lie in the data folder.")
    try:
        made = import_tables(
            tables,
            get_settings().data_path / name,
            rows=rows,
            replace=replace,
            progress=lambda text: click.echo(text, err=True),
        )
    except Permanent as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{name}: {made.rows} entries in {made.partitions} partitions.")
