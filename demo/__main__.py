"""`make demo`: the main job, on a synthetic sky or on a user's own files."""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console

from demo.material import Material, synthetic
from demo.progress import ProgressLine
from demo.report import show
from demo.results import Results
from demo.user import process, read_results
from demo.verdict import checks
from skyrelay.client import Client, ClientError
from skyrelay.parameters import ParameterError, parse_assignments
from skyrelay.stack.stack import Stack
from skyrelay.synthetic import FieldSpec

console = Console(highlight=False)

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--image", type=_FILE, help="A FITS image of your own instead of the synthetic sky.")
@click.option("--catalog", type=_FILE, help="A table with the stars of its field.")
@click.option("--template", type=_FILE, help="A deeper image of its field.")
@click.option("--config", default="", metavar="'k=v …'", help="Parameters of the processing.")
@click.option("--size", default=1024, show_default=True, help="Size of the synthetic image, px.")
@click.option("--seed", default=1, show_default=True, help="Which synthetic sky.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/demo"),
    show_default=True,
    help="Where the stack, the observation and the products are kept.",
)
@click.option("--against", metavar="URL", help="A running Skyrelay instead of a stack of our own.")
@click.option("--token", envvar="SKYRELAY_TOKEN", help="A user's token there.")
def demo(
    image: Path | None,
    catalog: Path | None,
    template: Path | None,
    config: str,
    size: int,
    seed: int,
    folder: Path,
    against: str | None,
    token: str | None,
) -> None:
    """Run the main job and show what came of it; the exit code is 0 only if all of it worked."""
    if image is None and (catalog or template):
        raise click.UsageError("A catalogue or a template of your own needs an image: IMAGE=….")
    if (against is None) != (token is None):
        raise click.UsageError("--against and --token go together.")
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        parameters = parse_assignments(shlex.split(config))
        if image is not None:
            material = Material(image.name, image, template, catalog, parameters)
        else:
            material = _render(folder / "observation", size, seed, parameters)
        if against is not None and token is not None:
            worked = _run(Client(against, token), material)
        else:
            worked = _run_in_stack(folder, material)
    except ParameterError as error:
        raise click.UsageError(str(error)) from None
    except (ClientError, RuntimeError) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        raise click.ClickException("Interrupted; everything has been stopped.") from None
    sys.exit(0 if worked else 1)


def _render(folder: Path, size: int, seed: int, parameters: dict[str, Any]) -> Material:
    _say(f"Observing the synthetic sky ({size} x {size} px, seed {seed}) into {folder}.")
    return synthetic(folder, FieldSpec(size=size, seed=seed), parameters)


def _run_in_stack(folder: Path, material: Material) -> bool:
    with Stack(folder / "stack", say=_say) as stack:
        first = stack.administrator
        _say(f"Skyrelay is up at {stack.base_url}; logging in as {first.name}.")
        with Client.login(stack.base_url, first.name, first.password) as client:
            worked = _run(client, material, tasks=stack.folder / "tasks")
    return worked


def _run(client: Client, material: Material, tasks: Path | None = None) -> bool:
    _say(f"Sending {material.image.name} through {', '.join(material.steps)}.")
    with ProgressLine(console) as line:
        task = process(client, material, line.show)
    with tempfile.TemporaryDirectory(prefix="skyrelay-demo-") as scratch:
        results = read_results(client, task, material.steps, Path(scratch))
    verdict = checks(results, material.truth)
    show(console, _with_folder(results, tasks), material.truth, verdict)
    return all(check.holds for check in verdict)


def _with_folder(results: Results, tasks: Path | None) -> Results:
    """The products of a stack of our own outlive it: name their folder instead of an address."""
    if tasks is None:
        return results
    return Results(**{**vars(results), "products": str(tasks / str(results.task))})


def _say(sentence: str) -> None:
    console.print(f"==> {sentence}", markup=False, soft_wrap=True)


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    demo()
