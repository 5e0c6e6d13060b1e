"""How does a user have images processed at the command line, without any service?"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console

from skyrelay.cli.local.crew import Crew
from skyrelay.cli.local.folder import folder_for
from skyrelay.cli.local.job import Job
from skyrelay.cli.local.report import Display, JobReport, print_json, print_summary
from skyrelay.cli.parameters import assignments_option, parsed, read_preset
from skyrelay.messages import Outcome
from skyrelay.settings import get_settings
from skyrelay.stages import STACK, STAGES, SUBTRACTION, Stage

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
#: Exit code after Ctrl-C, as shells have it.
_INTERRUPTED = 130


def _step_options(command: Callable[..., None]) -> Callable[..., None]:
    """A flag for each stage."""
    for stage in reversed(STAGES):
        command = click.option(*_flags(stage), stage.step, is_flag=True, help=f"{stage.title}.")(
            command
        )
    return command


def _flags(stage: Stage) -> tuple[str, ...]:
    flag = f"--{stage.step.replace('_', '-')}"
    return ("--subtract", flag) if stage is SUBTRACTION else (flag,)


@click.command()
@click.argument("images", nargs=-1, required=True, type=_FILE)
@_step_options
@assignments_option
@click.option("--preset", type=_FILE, help="JSON file with parameters; -c wins over it.")
@click.option(
    "--file", "added", multiple=True, metavar="NAME=PATH",
    help="A file for the stages, by its name there: custom_template.fits=deep.fits.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the results, instead of one beside each image.",
)  # fmt: skip
@click.option("-j", "--jobs", type=click.IntRange(1, 256), default=1, help="Images at once.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Show the log of every stage.")
def process(
    images: tuple[Path, ...],
    assignments: tuple[str, ...],
    preset: Path | None,
    added: tuple[str, ...],
    output: Path | None,
    jobs: int,
    as_json: bool,
    verbose: bool,
    **flags: bool,
) -> None:
    """Process IMAGES on this machine, without broker and database.

    The steps are run in the order in which they are listed here. The results of m31.fits are in the
    folder m31 beside it, with the configuration in its file .config, which is taken up the next
    time. With --stack all images become one, in a folder named after the first.

    Ends with 1 if any image failed.
    """
    steps = tuple(stage.step for stage in STAGES if flags[stage.step])
    if not steps:
        raise click.UsageError("Name at least one step, such as --inspect --photometry.")
    config = ({} if preset is None else read_preset(preset)) | parsed(assignments)
    files = _files(added)
    found = _jobs(images, steps, config, files, output)
    reports = {job.folder: JobReport(job) for job in found}
    progress = Console(stderr=True)
    interrupted = False
    with (
        _interruptible(),
        Crew(found, jobs) as crew,
        Display(progress, len(found), logs=verbose) as display,
    ):
        try:
            for job, line in crew.work():
                reports[job.folder].hear(line)
                display.show(job, line)
        except KeyboardInterrupt:
            interrupted = True
    console = Console(soft_wrap=not sys.stdout.isatty())
    (print_json if as_json else print_summary)(console, list(reports.values()))
    if interrupted:
        sys.exit(_INTERRUPTED)
    sys.exit(int(any(report.outcome is Outcome.FAILED for report in reports.values())))


def _jobs(
    images: Sequence[Path],
    steps: tuple[str, ...],
    config: dict[str, Any],
    files: dict[str, Path],
    output: Path | None,
) -> list[Job]:
    files = files | _catalogue(config)
    if STACK.step in steps:
        folder = folder_for(images[0], output, stack=True)
        # Under the root folder, which is the data folder of the command line.
        names = [str(image.resolve()) for image in images]
        return [
            Job(
                name=folder.name,
                folder=folder,
                image=None,
                steps=steps,
                config=config | {"stack_filenames": names},
                added=files,
            )
        ]
    found: dict[Path, Job] = {}
    for image in images:
        folder = folder_for(image, output)
        if folder in found:
            raise click.UsageError(
                f"{found[folder].image} and {image} would both be worked on in {folder}: "
                "process them one after the other, with different --output."
            )
        found[folder] = Job(
            name=str(image), folder=folder, image=image, steps=steps, config=config, added=files
        )
    return list(found.values())


def _files(added: Sequence[str]) -> dict[str, Path]:
    files = {}
    for word in added:
        name, separator, text = word.partition("=")
        path = Path(text)
        if not separator or not name or "/" in name or name.startswith("."):
            raise click.UsageError(
                f"--file {word}: write it as name=path, the name without folders."
            )
        if not path.is_file():
            raise click.UsageError(f"--file {word}: there is no file {path}.")
        files[name] = path.absolute()
    return files


def _catalogue(config: dict[str, Any]) -> dict[str, Path]:
    """The local catalogue, from where the user stands or from the data folder, for the folder."""
    name = config.get("cat_file")
    if not name:
        return {}
    for folder in (Path(), get_settings().data_path):
        path = (folder / name).absolute()
        if path.is_file():
            config["cat_file"] = path.name
            return {path.name: path}
    return {}


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
