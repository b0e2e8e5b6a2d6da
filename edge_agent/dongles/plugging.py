"""Adapters that come and go while the agent runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from can_stream.protocol.control import Discovery
from edge_agent.config.dongle import PLUGGABLE, DongleSection
from edge_agent.dongles.whereabouts import DiscoveryKind, Whereabouts, discovery
from edge_agent.host.adapter import Adapter
from edge_agent.host.clock import Clock
from edge_agent.host.inventory import Inventory

LOOK_SECONDS: Final = 1.0
# A new adapter gets its name, its alias and its permissions after it has come.
_SETTLE_SECONDS: Final = 0.3
_logger: Final = logging.getLogger(__name__)


def inventory_for(sections: Iterable[DongleSection]) -> Inventory | None:
    """Where to look for the dongles; None where none of them is plugged in anywhere."""
    watched = [section for section in sections if section.interface in PLUGGABLE]
    ports = [section.channel for section in watched if section.interface == "slcan" and section.channel]
    return Inventory(ports) if watched else None


class PlugWatch:
    """Looks once a second what is plugged in, and says what comes and goes.

    `on_news` is called in the event loop as soon as there is something new; a little later, when it is known
    what, `say` with a discovery of each. At start only what belongs to none of the `dongles` is told.
    """

    def __init__(
        self,
        inventory: Inventory,
        dongles: Mapping[str, Whereabouts],
        on_news: Callable[[], None],
        say: Callable[[Discovery], object],
        clock: Clock,
    ) -> None:
        self._inventory = inventory
        self._dongles = dongles
        self._on_news = on_news
        self._say = say
        self._clock = clock
        self._there: dict[tuple[str, int], Adapter] = {}

    async def run(self) -> None:
        """Until cancelled."""
        signature = self._inventory.signature()
        come, _ = await self._look()
        self._tell(DiscoveryKind.PLUGGED, [one for one in come if self._dongle_at(one) is None])
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = self._inventory.signature()
            if now == signature:
                continue
            signature = now
            self._on_news()
            await asyncio.sleep(_SETTLE_SECONDS)
            come, gone = await self._look()
            self._tell(DiscoveryKind.UNPLUGGED, gone)
            self._tell(DiscoveryKind.PLUGGED, come)

    async def _look(self) -> tuple[list[Adapter], list[Adapter]]:
        """What has come and what has gone since the last call."""
        # Not in the event loop: a file of /sys may make its reader wait for the driver.
        found = {one.plug: one for one in await asyncio.to_thread(self._inventory.adapters)}
        before, self._there = self._there, found
        come = [one for plug, one in found.items() if plug not in before]
        return come, [one for plug, one in before.items() if plug not in found]

    def _tell(self, kind: DiscoveryKind, adapters: Sequence[Adapter]) -> None:
        for one in adapters:
            dongle_id = self._dongle_at(one)
            _logger.info("%s: %s %s", kind, one.channel, dongle_id or "(not configured)")
            self._say(discovery(kind, one, dongle_id, self._clock.wall_ns()))

    def _dongle_at(self, adapter: Adapter) -> str | None:
        return next((name for name, place in self._dongles.items() if place.is_at(adapter)), None)
