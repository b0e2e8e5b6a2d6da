"""The databases of all dongles: loaded at the start, and again when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from can_stream.databases.options import DatabaseOptions
from edge_agent.dongles.dongle import Dongle

if TYPE_CHECKING:
    from can_stream.databases.configured import ConfiguredDatabases

# Patterns, and what is said of the files.
_Named: TypeAlias = tuple[tuple[str, ...], tuple[DatabaseOptions, ...]]


class DatabaseKeeper:
    """Loads in the background; meanwhile frames go on as before.

    `use` is given each dongle with its databases, None where it has none; `done` is called when all have
    theirs. `known` is set from the first time on.
    """

    def __init__(
        self,
        dongles: Sequence[Dongle],
        use: Callable[[Dongle, ConfiguredDatabases | None], None],
        done: Callable[[], None],
    ) -> None:
        self.known = asyncio.Event()
        self._dongles = dongles
        self._use = use
        self._done = done
        self._due = asyncio.Event()
        self._due.set()

    def load_again(self) -> None:
        """What the dongles' sections name has changed, or may have."""
        self._due.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            loaded: dict[_Named, ConfiguredDatabases] = {}
            for dongle in self._dongles:
                named = tuple(dongle.section.databases), tuple(dongle.section.database_options)
                if named[0] and named not in loaded:
                    loaded[named] = await _load(named)
                self._use(dongle, loaded.get(named))
            self.known.set()
            self._done()


async def _load(named: _Named) -> ConfiguredDatabases:
    # Not at the top: an agent without databases has no memory for it.
    from can_stream.databases.configured import load_configured  # noqa: PLC0415

    return await asyncio.to_thread(load_configured, *named)
