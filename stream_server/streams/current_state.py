"""What holds now on a stream: each state as the event that says it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stream_server.streams.subject import Subject

STATE_SECONDS: Final = 30.0
_PASSING_FIELDS: Final = frozenset({"seen_at"})


@dataclass(slots=True)
class State:
    """One state, and when the ring was last told it, which begins with the stream's first tick."""

    event: str
    payload: dict[str, Any]
    told_at: float | None = None


class CurrentState:
    """The presence of each dongle of `subject`, and before them what holds of a group as a whole."""

    def __init__(self, subject: Subject) -> None:
        self._summarise = subject.summarise
        self._presences = {one: State("presence", _not_seen(one)) for one in subject.dongle_ids}
        self._group: State | None = None
        if self._summarise is not None:
            self._group = State("group_state", self._summary())

    def __iter__(self) -> Iterator[State]:
        if self._group is not None:
            yield self._group
        yield from self._presences.values()

    def set_presence(self, payload: Mapping[str, Any]) -> list[State]:
        """The presence of one of the dongles. Returns what has changed by it, but for `seen_at`."""
        presence = self._presences[payload["dongle_id"]]
        before, presence.payload = presence.payload, dict(payload)
        changed = [presence] if _lasting(before) != _lasting(presence.payload) else []
        return changed + self.summarise()

    def summarise(self) -> list[State]:
        """What holds of the group as a whole, where that has changed."""
        if self._group is None or self._group.payload == (summary := self._summary()):
            return []
        self._group.payload = summary
        return [self._group]

    def due(self, now_seconds: float) -> list[State]:
        """What is to be told again, since it was told 30 s ago."""
        due = []
        for state in self:
            if state.told_at is None:
                state.told_at = now_seconds
            elif now_seconds - state.told_at >= STATE_SECONDS:
                due.append(state)
        return due

    def _summary(self) -> dict[str, Any]:
        assert self._summarise is not None
        return dict(self._summarise([presence.payload for presence in self._presences.values()]))


def _not_seen(dongle_id: str) -> dict[str, Any]:
    return {
        "dongle_id": dongle_id,
        "online": False,
        "agent_id": None,
        "seen_at": None,
        "reason": "not seen since the server started",
        "clock_synchronised": False,
    }


def _lasting(presence: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in presence.items() if name not in _PASSING_FIELDS}
