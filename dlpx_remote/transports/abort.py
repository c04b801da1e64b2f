"""How one thread ends what another one has a host do; for every transport."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Abort:
    """Handed to a command, and kept by whoever may want its end. Asked for once, it stays asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = False
        self._wakers: list[Callable[[], None]] = []

    @property
    def asked(self) -> bool:
        """Whether the end is asked for."""
        return self._asked

    def ask(self) -> None:
        """Have what it was handed to end. Waits for nothing."""
        with self._lock:
            self._asked = True
            wakers, self._wakers = self._wakers, []
        for wake in wakers:
            wake()

    @contextmanager
    def wakes(self, wake: Callable[[], None]) -> Iterator[None]:
        """Within the block, call ``wake`` once when the end is asked for, from that thread.

        It is called at once if that has happened already. It must not wait.
        """
        with self._lock:
            at_once = self._asked
            if not at_once:
                self._wakers.append(wake)
        if at_once:
            wake()
        try:
            yield
        finally:
            with self._lock:
                if wake in self._wakers:
                    self._wakers.remove(wake)
