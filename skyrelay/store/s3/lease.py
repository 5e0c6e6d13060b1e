"""Who may work on an attempt, where no kernel knows whether the holder of a claim lives?

A lease, renewed while its holder lives, decides who *works*. It may be wrong: a holder that stood
still may wake up beside its successor. Who *publishes* is never in doubt, see `Lease.is_mine` and
`S3Attempt`. Time is the server's: an object's age is the difference of two of its own stamps.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pydantic import BaseModel, Field

from skyrelay import logs
from skyrelay.store.attempt import AttemptBusy
from skyrelay.store.s3.bucket import Bucket, Conflict, Found

_log = logging.getLogger(__name__)

#: Seconds without renewal after which another may take the claim.
PATIENCE = 60.0
#: Seconds from one renewal to the next.
_RENEWAL = 10.0


class _Claim(BaseModel):
    #: Grows with each holder: the fencing token.
    token: int = 1
    #: The machine, by its scratch folder.
    place: str
    holder: str = Field(default_factory=lambda: secrets.token_hex(8))
    renewals: int = 0
    free: bool = False

    def body(self) -> bytes:
        return self.model_dump_json().encode()


class Lease:
    """The claim object of one attempt, as one process sees it.

    ``place`` is the scratch folder; who holds the attempt's lock there knows that nobody else
    there is alive, and does not wait for the lease of a dead neighbour to run out.
    """

    def __init__(self, bucket: Bucket, key: str, place: str) -> None:
        self._bucket, self._key, self._place = bucket, key, place
        self._claim: _Claim | None = None
        self._etag = ""
        self._ended = threading.Event()

    @contextmanager
    def held(self, fence: Callable[[], None]) -> Iterator[bool]:
        """Hold the claim; whether nobody did before.

        ``fence`` is called after the claim was taken from a holder that may still live, and has to
        see to it that no write of that one, prepared before, can succeed any more.

        Raises
        ------
        AttemptBusy
            If another one holds it.
        """
        before = self._bucket.find(self._key)
        first, robbed = self._take(before)
        thread = threading.Thread(target=logs.carried(self._renew), daemon=True)
        try:
            if robbed:
                fence()
            thread.start()
            yield first
        finally:
            self._ended.set()
            if thread.ident is not None:
                thread.join()
            with suppress(OSError, Conflict):
                self._write(free=True)

    def is_mine(self) -> bool:
        """Whether nobody has taken the claim since."""
        found = self._bucket.find(self._key)
        if found is None or self._claim is None:
            return False
        return _Claim.model_validate_json(found.body).holder == self._claim.holder

    def free_here(self) -> None:
        """Free the claim of a worker of this place that is known to be dead."""
        found = self._bucket.find(self._key)
        if found is None:
            return
        claim = _Claim.model_validate_json(found.body)
        if claim.place == self._place and not claim.free:
            with suppress(Conflict):
                body = claim.model_copy(update={"free": True}).body()
                self._bucket.put_after(self._key, body, found.etag)

    def _take(self, before: Found | None) -> tuple[bool, bool]:
        claim, robbed = _Claim(place=self._place), False
        if before is not None:
            previous = _Claim.model_validate_json(before.body)
            if not (previous.free or previous.place == self._place or before.age > PATIENCE):
                raise AttemptBusy
            claim.token, robbed = previous.token + 1, not previous.free
        try:
            etag = before.etag if before else None
            self._etag = self._bucket.put_after(self._key, claim.body(), etag)
        except Conflict as error:
            raise AttemptBusy from error
        self._claim = claim
        self._ended.clear()
        return before is None, robbed

    def _renew(self) -> None:
        while not self._ended.wait(_RENEWAL):
            try:
                self._write()
            except Conflict:
                _log.warning("the claim of this attempt was taken by another worker")
                return
            except OSError as error:
                _log.warning("the claim of this attempt cannot be renewed: %s", error)

    def _write(self, *, free: bool = False) -> None:
        assert self._claim is not None
        renewed = {"renewals": self._claim.renewals + 1, "free": free}
        claim = self._claim.model_copy(update=renewed)
        self._etag = self._bucket.put_after(self._key, claim.body(), self._etag)
        self._claim = claim
