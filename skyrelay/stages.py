"""Which stages are there, what are they called, and what follows from what?

The one registry of stages. Queues, services, task states, logs and the list of products that a
stage replaces are derived from it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass

from skyrelay import task_states, time_limits
from skyrelay.settings import get_settings


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of processing.

    Attributes
    ----------
    step : str
        Name of the processing step in the API (``simple_transients``).
    service : str
        Folder under ``services/`` whose replicas do the work (``transients``).
    state : str
        Task state while the stage runs; also the stem of its log (``transients_simple``).
    title : str
        What a person calls it.
    invalidates : tuple of str
        Steps whose products are out of date as soon as this stage starts anew.
    time_limit : float
        Seconds after which an attempt is stopped, unless the configuration says otherwise; at most
        `skyrelay.time_limits.LONGEST`.
    makes : tuple of str
        Names of the files and folders that the stage makes, where `skyrelay.products` does not
        say it.
    science_module : str or None
        Dotted path of the module with the stage's science, where it is not ``stage.py`` of its
        service.
    service_module : str or None
        Dotted path of the module with its nameko service, where it is not under ``services/``.
    ends_as : str or None
        Task state after the stage has ended well, where it is not that of the others.
    locates : bool
        Whether the position of the task on the sky is what this stage says, even if it says none.
    """

    step: str
    service: str
    state: str
    title: str
    invalidates: tuple[str, ...] = ()
    time_limit: float = 3600.0
    makes: tuple[str, ...] = ()
    science_module: str | None = None
    service_module: str | None = None
    ends_as: str | None = None
    locates: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.time_limit <= time_limits.LONGEST:
            raise ValueError(
                f"the stage {self.step} has a time limit of {self.time_limit:g} s: it must be at "
                f"most {time_limits.LONGEST:g} s, because the broker takes its message away after "
                f"{time_limits.CONSUMER_TIMEOUT_MS / 1000:g} s"
            )

    @property
    def science(self) -> str:
        """Dotted path of the module with the stage's science; it has a function ``run``."""
        return self.science_module or f"services.{self.service}.stage"

    @property
    def state_done(self) -> str:
        """Task state after the stage has ended well (or degraded)."""
        return self.ends_as or f"{self.state}_done"

    @property
    def state_failed(self) -> str:
        """Task state after the stage has failed."""
        return task_states.failed(self.state)

    @property
    def log_name(self) -> str:
        """Name of the stage's log in the task's folder."""
        return f"{self.state}.log"

    @property
    def results_name(self) -> str:
        """Name of the file with the stage's measured values in the task's folder."""
        return f"{self.state}_results.json"


_AFTER_PHOTOMETRY = ("simple_transients", "subtraction")
_AFTER_INSPECTION = ("photometry", *_AFTER_PHOTOMETRY)
_AFTER_ALL_CHANGES = ("inspect", *_AFTER_INSPECTION)


def _preprocessing(step: str, title: str, module: str) -> Stage:
    """A step that changes the image, so that nothing that was found out about it is true."""
    return Stage(
        step=step,
        service="inspect",
        state=step,
        title=title,
        invalidates=_AFTER_ALL_CHANGES,
        science_module=f"services.inspect.{module}",
        locates=True,
    )


CLEANUP = Stage(
    step="cleanup",
    service="inspect",
    state="cleanup",
    title="Cleanup",
    science_module="services.inspect.cleanup",
    locates=True,
)
ARCHIVE = Stage(
    step="archive",
    service="inspect",
    state="archive",
    title="Archiving",
    science_module="services.inspect.archive",
    ends_as="archive",
)
STACK = Stage(
    step="stack",
    service="stacking",
    state="stacking",
    title="Stacking",
    invalidates=_AFTER_ALL_CHANGES,
    time_limit=4 * 3600.0,
    locates=True,
)
RESET = _preprocessing("reset", "Reset to the original", "reset")
FIX = Stage(
    step="fix",
    service="inspect",
    state="fix",
    title="Header repair",
    science_module="services.inspect.fix",
)
CROP = _preprocessing("crop", "Cropping", "crop")
DESTRIPE = _preprocessing("destripe", "Destriping", "destripe")
REMOVE_FRINGES = _preprocessing("remove_fringes", "Fringe removal", "fringes")
REMOVE_BACKGROUND = _preprocessing("remove_background", "Background removal", "background")
INSPECT = Stage(
    step="inspect",
    service="inspect",
    state="inspect",
    title="Inspection",
    invalidates=_AFTER_INSPECTION,
    locates=True,
)
PHOTOMETRY = Stage(
    step="photometry",
    service="photometry",
    state="photometry",
    title="Photometry",
    invalidates=_AFTER_PHOTOMETRY,
)
SIMPLE_TRANSIENTS = Stage(
    step="simple_transients",
    service="transients",
    state="transients_simple",
    title="Simple transient detection",
)
SUBTRACTION = Stage(
    step="subtraction",
    service="subtraction",
    state="subtraction",
    title="Template subtraction",
    time_limit=4 * 3600.0,
)


def _extra_stages() -> Iterator[Stage]:
    """Stages of an installation's own: ``STAGES`` of the modules that the settings name."""
    for name in filter(None, get_settings().skyrelay_extra_stages.split(",")):
        yield from importlib.import_module(name.strip()).STAGES


#: All stages, in the order in which they are usually run.
STAGES: tuple[Stage, ...] = (
    CLEANUP,
    ARCHIVE,
    STACK,
    RESET,
    FIX,
    CROP,
    DESTRIPE,
    REMOVE_FRINGES,
    REMOVE_BACKGROUND,
    INSPECT,
    PHOTOMETRY,
    SIMPLE_TRANSIENTS,
    SUBTRACTION,
    *_extra_stages(),
)

#: Folders under services/, each once, in the order of the stages.
SERVICES: tuple[str, ...] = tuple(dict.fromkeys(stage.service for stage in STAGES))

_BY_STEP = {stage.step: stage for stage in STAGES}


def stage_of(step: str) -> Stage:
    """The stage of the processing step ``step``.

    Raises
    ------
    KeyError
        If there is no such step.
    """
    return _BY_STEP[step]


def service_module(service: str) -> str:
    """Dotted path of the module with the nameko service ``service``."""
    named = (stage.service_module for stage in stages_of_service(service))
    return next(filter(None, named), f"services.{service}.service")


def stages_of_service(service: str) -> tuple[Stage, ...]:
    """The stages whose work the service ``service`` does."""
    return tuple(stage for stage in STAGES if stage.service == service)
