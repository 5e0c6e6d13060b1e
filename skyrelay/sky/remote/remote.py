"""What does a stage hold in hand when it asks a service: settings, cache, patience, its log?"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Generic, TypeVar

from skyrelay.episodes import Ending, Episode, Kind, note
from skyrelay.errors import Permanent, Retriable
from skyrelay.settings import Settings
from skyrelay.sky.remote.answers import BadAnswer
from skyrelay.sky.remote.cache import Cache
from skyrelay.sky.remote.request import Request
from skyrelay.sky.remote.services import LEGACY_SURVEY, PS1, Service
from skyrelay.sky.remote.transport import Absent, ask
from skyrelay.stage.context import StageContext

__all__ = ["Absent", "Offline", "Remote"]

_T = TypeVar("_T")
_GIB = 1024**3
#: Where the cache is if the settings do not say: all replicas see the tasks' folder.
_FOLDER = ".cache"


class Offline(Permanent):
    """Only the network could tell, and it is not to be touched."""


@dataclass(frozen=True)
class _Asked(Generic[_T]):
    """A question to a service, and how its answer is read."""

    service: Service
    request: Request
    read: Callable[[IO[bytes]], _T]


@dataclass(frozen=True)
class Remote:
    """The way to the sky services for one attempt of a stage.

    Attributes
    ----------
    offline : bool
        Only what the cache has is known then, however old it is.
    temporary : Path
        Takes what arrives if the cache cannot be written.
    """

    settings: Settings
    offline: bool
    temporary: Path
    log: Callable[..., object]

    @classmethod
    def of(cls, context: StageContext) -> Remote:
        """As the settings and the task's configuration want it."""
        settings = context.settings
        offline = settings.skyrelay_offline or bool(context.parameter("offline"))
        return cls(settings, offline, context.temporary, context.log)

    def fetch(self, service: Service, request: Request, read: Callable[[IO[bytes]], _T]) -> _T:
        """What ``read`` makes of the service's answer, of today or of an earlier day.

        Parameters
        ----------
        read : callable
            Takes the open file with the answer; raises `BadAnswer` if it is none. It is kept
            only if this returns.

        Raises
        ------
        Offline
            If the answer is not at hand and the network must not be touched.
        Permanent, Retriable
            As `transport.ask` does.
        """
        asked = _Asked(service, request, read)
        cache = Cache(self._folder(service), self.settings.skyrelay_cache_size * _GIB)
        try:
            return self._through(cache, asked)
        except OSError as error:  # the cache is a help, not a need
            self.log(f"Warning: The cache of the sky services cannot be used: {error}")
        return self._through(Cache(self.temporary / _FOLDER, float("inf")), asked)

    def _through(self, cache: Cache, asked: _Asked[_T]) -> _T:
        service, key = asked.service, asked.request.key
        if (known := self._known(cache, asked)) is not None:
            note(Episode(Kind.CACHE, service.name, Ending.HIT, time.time()))
            return known[0]
        note(Episode(Kind.CACHE, service.name, Ending.MISS, time.time()))
        if self.offline:
            raise Offline(
                f"{service.subject} is not asked, as nothing may be asked over the network "
                f"(offline); {service.instead}."
            )
        with cache.fetching(service.name, key) as fetch:
            if (known := self._known(cache, asked)) is not None:
                return known[0]
            if fetch.is_recent and fetch.failure:
                raise Retriable(fetch.failure)
            try:
                with cache.incoming() as file:
                    answer = ask(service, asked.request, asked.read, file, self.settings, self.log)
                    cache.keep(service.name, key, file)
            except Retriable as error:
                fetch.fail(str(error))
                raise
        return answer

    def _known(self, cache: Cache, asked: _Asked[_T]) -> tuple[_T] | None:
        """What the cache has of it, in a tuple, as an answer may be nothing."""
        service = asked.service
        oldest = None if self.offline else service.oldest(self.settings)
        file = cache.find(service.name, asked.request.key, oldest)
        if file is None:
            return None
        with file:
            try:
                return (asked.read(file),)
            except BadAnswer as error:  # an earlier version was content with it
                self.log(f"An earlier answer of {service.title} is {error}: it is fetched anew")
                return None

    def _folder(self, service: Service) -> Path:
        own = self.settings.stdpipe_ps1_cache
        if own is not None and service in (PS1, LEGACY_SURVEY):
            return own
        return self.settings.skyrelay_cache_path or self.settings.tasks_path / _FOLDER
