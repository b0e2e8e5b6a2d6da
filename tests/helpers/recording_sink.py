"""A sink that keeps what it is told, for tests of what stands around one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.errors import SessionError
from can_stream.protocol.relay_control import Cursor, Direction, SinkHello
from can_stream.protocol.relay_items import Counts
from edge_agent.relay.bus_facts import BusFacts
from edge_agent.relay.circle.loops import LoopWatch
from edge_agent.relay.driver import Driver


class RecordingSink:
    """`told` is each call with what it was given; `bursts` are what it lets go, one after the other.

    `refuses`: items and counts are beyond what it has asked for. `facts`: of its bus, at each look.
    """

    def __init__(self, dongle_id: str) -> None:
        self.told: list[tuple[str, Any]] = []
        self.facts: list[BusFacts] = []
        self.bursts: list[FrameBatch] = []
        self.cursors: list[Cursor] = []
        self.credit = 2_000
        self.waits_for = ""
        self.loops = LoopWatch(0.9, "", lambda _: None)
        self.driver = Driver()
        self.latency_ms: tuple[float, float] | None = None
        self.refuses = False
        self.is_full = False
        self.due_ns: int | None = None
        self.waits_for_echo = False
        self.wants_emptying = False
        self._dongle_id = dongle_id

    def of(self, kind: str) -> list[Any]:
        """What it was given by the calls of this name."""
        return [given for name, given in self.told if name == kind]

    def hello(self) -> SinkHello:
        return SinkHello(self._dongle_id, "0" * 32, list(self.cursors))

    def directed(self, direction: Direction | None, _: int) -> None:
        self.told.append(("directed", direction))

    def take_item(self, *given: Any) -> None:
        if self.refuses:
            raise SessionError("beyond the credit")
        self.told.append(("item", given))

    def take_counts(self, counts: Counts, _: int) -> None:
        if self.refuses:
            raise SessionError("without a direction")
        self.told.append(("counts", counts))

    def leased(self, ping_sent_ns: int, activations: Collection[str]) -> None:
        self.told.append(("leased", (ping_sent_ns, list(activations))))

    def disconnected(self, now_ns: int) -> None:
        self.told.append(("disconnected", now_ns))

    def next_burst(self, _: int, bus: BusFacts) -> FrameBatch | None:
        self.facts.append(bus)
        if bus.disabled or not bus.is_up or self.waits_for_echo or self.is_full or not self.bursts:
            return None
        self.waits_for_echo = bus.confirms != "queue"
        return self.bursts.pop(0)

    def written(self, taken: int, _: int) -> None:
        self.told.append(("written", taken))

    def echoed(self, frames: FrameBatch, _: int) -> int:
        self.told.append(("echoed", len(frames)))
        self.waits_for_echo = False
        return len(frames)

    def emptied(self, _: int) -> None:
        self.is_full = self.wants_emptying = False
        self.told.append(("emptied", None))

    def due_in_ns(self, _: int) -> int | None:
        return self.due_ns

    @property
    def must_empty(self) -> bool:
        return self.is_full

    def moved(self) -> list[Cursor]:
        moved, self.cursors = self.cursors, []
        return moved

    def take_latency_ms(self) -> tuple[float, float] | None:
        return self.latency_ms
