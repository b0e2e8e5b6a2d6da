"""Whether a driver returns to the thread that has called it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_agent.state import State, StatusCode


class DriverWatch:
    """Of the driver of the source `name`. `entered` is used in the reading thread, `hang` anywhere."""

    def __init__(self, name: str, monotonic_seconds: Callable[[], float]) -> None:
        self._name = name
        self._monotonic_seconds = monotonic_seconds
        # When the driver was last entered, and how long it may stay; None while it is not in use.
        self._call: tuple[float, float] | None = None

    @contextmanager
    def entered(self, patience_seconds: float) -> Iterator[None]:
        """Marks the time spent in the driver."""
        self._call = (self._monotonic_seconds(), patience_seconds)
        try:
            yield
        finally:
            self._call = None

    def hang(self) -> State | None:
        """What to say while the driver does not return; None where it does."""
        call = self._call
        if call is None or self._monotonic_seconds() - call[0] < call[1]:
            return None
        remedy = "unplug the adapter and plug it in again; if that does not help, restart the agent"
        reason = f"the driver of {self._name} has not returned for more than {call[1]:g} s"
        return State(StatusCode.FAILED, f"{reason}: {remedy}", "dead_driver")
