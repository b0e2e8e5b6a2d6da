"""One bus that a group's other side may write to: what waits for it, what is in its driver, what is settled.

Signatures first; the body follows.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.relay_control import Cursor, Direction, SinkHello
from can_stream.protocol.relay_items import Counts
from edge_agent.relay.bus_facts import BusFacts
from edge_agent.relay.record import Record
from edge_agent.transmit.policy import RelayPolicy


class SinkLimits(Struct, frozen=True):
    """The bounds of one sink, by [relay]. Times in seconds, loads as shares of the bit rate."""

    max_age_seconds: float
    lease_seconds: float = 2.0
    max_bus_load: float = 0.3
    max_live_bus_load: float = 0.9
    dry_run: bool = False
    queue_frames: int = 2_000


class Sink:
    """All times are `now_ns` of CLOCK_BOOTTIME."""

    waits_for: str
    """Why nothing is sent now: "" | lease | burst | queue | bus | bus_load | bit_rate."""

    def __init__(
        self, dongle_id: str, record: Record, policy: RelayPolicy, limits: SinkLimits, now_ns: int
    ) -> None:
        """An open burst of the record, left by a process that was killed, is in doubt."""
        raise NotImplementedError

    @property
    def credit(self) -> int:
        """How many frames of items may be handed in all since the last directions."""
        raise NotImplementedError

    def hello(self) -> SinkHello:
        """What the record says."""
        raise NotImplementedError

    def directed(self, direction: Direction | None, now_ns: int) -> None:
        """The server's directions, after each connection and each change: what waits is dropped, unsettled."""
        raise NotImplementedError

    def take_item(
        self, start_id: str, position: int, frames: FrameBatch, born_ns: int | None, fresh: bool, now_ns: int
    ) -> None:
        """Frames to be sent. Raises RelayError beyond the credit, or without a direction."""
        raise NotImplementedError

    def take_counts(self, counts: Counts, now_ns: int) -> None:
        """Frames that are not handed over, settled in their turn. Raises RelayError."""
        raise NotImplementedError

    def leased(self, ping_sent_ns: int, activations: Collection[str]) -> None:
        """A pong: the activations that were on after the own ping was sent at `ping_sent_ns`."""
        raise NotImplementedError

    def disconnected(self, now_ns: int) -> None:
        """No items come any more; what waits is dropped, unsettled. The open burst goes on."""
        raise NotImplementedError

    def next_burst(self, now_ns: int, bus: BusFacts) -> FrameBatch | None:
        """What is to be written now, all of it at once; the record knows it before it is returned.

        To be followed by `written`. Also what refuses frames and lets them grow old: call it when `due_in_ns`
        says so, whatever the bus is doing.
        """
        raise NotImplementedError

    def written(self, taken: int, now_ns: int) -> None:
        """The driver took the first `taken` frames of the last burst, and none of the rest.

        An interface that confirms by its adapter calls it when the adapter has answered. Where the device is
        gone: 0 if surely nothing was taken, else leave it to `next_burst` with `is_up` False.
        """
        raise NotImplementedError

    def echoed(self, frames: FrameBatch, now_ns: int) -> int:
        """Own frames (FrameFlag.TX) that were read back from the bus: how many of them were the relay's."""
        raise NotImplementedError

    def emptied(self, now_ns: int) -> None:
        """It is known that nothing is in the driver any more."""
        raise NotImplementedError

    def spent(self, frames: FrameBatch, now_ns: int) -> None:
        """Something else of this gateway has sent these: they count as load too."""
        raise NotImplementedError

    def tick(self, now_ns: int) -> None:
        """Lets the open burst and what waits grow old."""
        raise NotImplementedError

    def due_in_ns(self, now_ns: int) -> int | None:
        """When `next_burst` has something to do although nothing else happens; None: never."""
        raise NotImplementedError

    def moved(self) -> list[Cursor]:
        """The cursors that have moved, or were asked for, since the last call."""
        raise NotImplementedError

    def must_empty(self) -> bool:
        """Whether nothing is sent before `emptied`, or the echo of a probing frame."""
        raise NotImplementedError

    def take_latency_ms(self) -> tuple[float, float] | None:
        """Ages at the echo since the last call: p50 and p99; None where nothing was sent."""
        raise NotImplementedError
