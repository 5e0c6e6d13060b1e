"""How does one ask what may take for ever to answer, and go on all the same?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Question(threading.Thread, Generic[T]):
    """Something that is asked in a thread of its own, from now on.

    Nothing can end it before it is answered: the system looks for an address, say, or a network's
    file system stands still. The end of the process does not wait for it.
    """

    def __init__(self, name: str, ask: Callable[[], T]) -> None:
        super().__init__(name=name, daemon=True)
        self._ask = ask
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._found = self._ask()
        except Exception as error:
            self._error = error

    def answer(self, seconds: float) -> T:
        """What was found, or the error with which the asking has ended.

        Raises
        ------
        TimeoutError
            If it is not answered in so many seconds; it may be later.
        """
        self.join(max(0.0, seconds))
        if self.is_alive():
            raise TimeoutError("no answer yet")
        if self._error is not None:
            raise self._error
        return self._found
