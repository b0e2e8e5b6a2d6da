"""What a thread is woken by before its time: to try again, or because somebody is in haste."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Nudge:
    """One thread waits or rests, any other nudges it. What ends a rest ends no wait that comes later."""

    def __init__(self, monotonic_seconds: Callable[[], float]) -> None:
        self._monotonic_seconds = monotonic_seconds
        self._woken = threading.Event()
        self._hastened = threading.Event()
        self._stopped = threading.Event()
        self._haste_until_seconds = 0.0
        self._has_stopped = False

    @property
    def is_in_haste(self) -> bool:
        """Whether somebody said so, and that is not over."""
        return self._monotonic_seconds() < self._haste_until_seconds

    def wait(self, seconds: float) -> None:
        """So long, or until `wake`; one from before counts."""
        self._woken.wait(seconds)
        if not self._has_stopped:
            self._woken.clear()

    def rest(self, seconds: float, haste_seconds: float = 0.0) -> None:
        """So long, or until there is haste; while there is, `haste_seconds` at the most."""
        if self.is_in_haste:
            if haste_seconds > 0:
                self._stopped.wait(min(seconds, haste_seconds))
            return
        self._hastened.wait(seconds)
        if not self._has_stopped:
            self._hastened.clear()

    def wake(self) -> None:
        """The wait is over, or the next one is none."""
        self._woken.set()

    def hurry(self, seconds: float) -> None:
        """For so long there is haste; it never ends earlier than was said before."""
        until_seconds = self._monotonic_seconds() + seconds
        self._haste_until_seconds = max(self._haste_until_seconds, until_seconds)
        self._hastened.set()

    def stop(self) -> None:
        """Nothing is waited for any more."""
        self._has_stopped = True
        self._stopped.set()
        self._woken.set()
        self._hastened.set()
