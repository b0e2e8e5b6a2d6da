"""How a source stands: said in the thread that reads it, told in the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from edge_agent.state import State


class SourceNews:
    """`on_state` is told each change once, in order."""

    def __init__(self, first: State, on_state: Callable[[State], None]) -> None:
        self._on_state = on_state
        self._said = first
        self._untold: deque[State] = deque()
        self._told: State | None = None

    @property
    def state(self) -> State:
        """The state last told."""
        return self._told or self._said

    def say(self, state: State) -> None:
        """In the reading thread: it stands so from now on."""
        self._said = state
        self._untold.append(state)

    def tell(self, instead: State | None) -> None:
        """In the event loop: all that was said, and `instead` of the last where there is something worse."""
        # Each of them: a failure that is over already must be told all the same.
        while self._untold:
            self._tell(self._untold.popleft())
        self._tell(instead or self._said)

    def _tell(self, state: State) -> None:
        if state != self._told:
            self._told = state
            self._on_state(state)
