"""Write a synthetic observation into a folder: `python -m skyrelay.synthetic --out DIR`."""

from __future__ import annotations

import click

from skyrelay.errors import SkyrelayError
from skyrelay.synthetic.observation import render_observation
from skyrelay.synthetic.spec import FieldSpec


@click.command()
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder to write to.")
@click.option("--size", default=FieldSpec.size, show_default=True, help="Pixels on a side.")
@click.option(
    "--seed", default=FieldSpec.seed, show_default=True, help="Another seed, another sky."
)
@click.option("--fwhm", default=FieldSpec.fwhm, show_default=True, help="Seeing, pixels.")
@click.option("--crowding", default=FieldSpec.crowding, show_default=True, help="Times the stars.")
@click.option("--band", default=FieldSpec.band, show_default=True, help="One of g, r, i, z.")
def main(out: str, **choices: object) -> None:
    """Render an image of the synthetic sky, its template, its catalogue and its truth."""
    try:
        paths = render_observation(FieldSpec(**choices)).write(out)  # type: ignore[arg-type]
    except (SkyrelayError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for name, path in paths.items():
        click.echo(f"{name}: {path}")


if __name__ == "__main__":
    main()
