"""Asks the kernel how the agent's buses stand, again and again, and at once after trouble."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from edge_agent.dongles.dongle import Dongle
from edge_agent.errors import LinkError
from edge_agent.host.can_link import CanLink, read_can_link

POLL_SECONDS: Final = 2.0
# Trouble comes in floods.
_SOONEST_SECONDS: Final = 0.2
_logger: Final = logging.getLogger(__name__)


class LinkPolling:
    """Of those dongles that are kernel interfaces; the others are left alone."""

    def __init__(self, dongles: Sequence[Dongle]) -> None:
        self._watched = [dongle for dongle in dongles if dongle.bus.health is not None]
        self._is_due = asyncio.Event()
        self._unreadable: set[str] = set()
        for dongle in self._watched:
            dongle.bus.on_trouble = self._is_due.set

    async def run(self) -> None:
        """Until cancelled; returns where there is nothing to watch."""
        while self._watched:
            self._is_due.clear()
            channels = [dongle.channel for dongle in self._watched]
            # In a thread: it waits while the kernel sets up whatever interface.
            links = await asyncio.to_thread(_read_links, channels)
            for dongle, link in zip(self._watched, links, strict=True):
                self._tell_dongle(dongle, link)
            await asyncio.sleep(_SOONEST_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS - _SOONEST_SECONDS):
                    await self._is_due.wait()

    def _tell_dongle(self, dongle: Dongle, link: CanLink | LinkError | None) -> None:
        if not isinstance(link, LinkError):
            dongle.take_link(link)
        elif dongle.dongle_id not in self._unreadable:
            _logger.warning("%s: %s", dongle.dongle_id, link)
            self._unreadable.add(dongle.dongle_id)
        dongle.bus.look()


def _read_links(channels: Sequence[str]) -> list[CanLink | LinkError | None]:
    return [_read_link(channel) for channel in channels]


def _read_link(channel: str) -> CanLink | LinkError | None:
    try:
        return read_can_link(channel)
    except LinkError as error:
        return error
