"""The modes of groups over time, in the audit: a `group_state` event is gone with its ring and its server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from stream_server import clock
from stream_server.groups import activation_store
from stream_server.storage.database import Database

_FIELDS: Final = ("mode", "reason", "offline_side")
_NEVER_ACTIVE: Final = {"mode": "inactive", "reason": None}


class ModeHistory:
    """Of all groups. What comes and goes between two looks is not in it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stored: dict[str, dict[str, Any]] = {}

    async def look(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Store what has changed since the last look; what could not be stored, the next time. StorageError.

        The first look after a start stores each group that is not inactive: its sides were away.
        """
        for state in states:
            group_id = state["group_id"]
            before, now = self._stored.get(group_id), _told(state)
            if now == (before or _NEVER_ACTIVE):
                continue
            record = partial(
                activation_store.mode, group_id=group_id, before=before, now=now, now_ns=clock.wall_ns()
            )
            await self._database.write(record)
            self._stored[group_id] = now

    def forget(self, group_ids: Iterable[str]) -> None:
        """All but these are gone; another may be called alike."""
        kept = set(group_ids)
        self._stored = {one: told for one, told in self._stored.items() if one in kept}


def _told(state: Mapping[str, Any]) -> dict[str, Any]:
    """What of a `group_state` is kept. Of a group that is inactive nobody asks who is away."""
    if state["mode"] == "inactive":
        return _NEVER_ACTIVE
    return {name: state[name] for name in _FIELDS}
