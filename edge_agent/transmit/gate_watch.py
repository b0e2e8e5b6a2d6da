"""Tells the gates what is said on the buses of this gateway, and each sink whether its own hold."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from can_stream.frames.batches import FrameBatch
from can_stream.signals.table import SignalTable
from edge_agent.config.gates import GateEntry
from edge_agent.transmit.gates import Gates

_logger: Final = logging.getLogger(__name__)


class GateBus(Struct, frozen=True):
    """A bus that gates read from: the table of its databases, and when what was read now was read at the
    earliest, in ns of CLOCK_BOOTTIME."""

    table: Callable[[], SignalTable | None]
    born_ns: Callable[[], int]


class GateWatch:
    """`gates`: of each dongle on whose bus frames may be put. `buses`: those that they name."""

    def __init__(self, gates: Mapping[str, Sequence[GateEntry]], buses: Mapping[str, GateBus]) -> None:
        self._of = gates
        self._buses = buses
        self._gates = Gates([one for some in gates.values() for one in some])
        self._is_broken = False

    def hear(self, dongle_id: str, frames: FrameBatch) -> None:
        """What was read from a bus, whatever is sent of it."""
        bus, values = self._buses.get(dongle_id), self._gates.buses.get(dongle_id)
        if bus is None or values is None or self._is_broken:
            return
        try:
            values.use(bus.table())
            values.hear(frames, bus.born_ns())
        except Exception:  # whatever it is, the bus must go on being read
            _logger.exception("no gate is known any more")
            self._is_broken = True

    def closed(self, dongle_id: str, now_ns: int) -> str:
        """Why nothing may be put on the bus of a dongle now, "" where its gates hold."""
        if self._is_broken:
            return "a fault of the agent, see its log: restart it, and report it"
        return self._gates.closed(self._of.get(dongle_id, ()), now_ns)
