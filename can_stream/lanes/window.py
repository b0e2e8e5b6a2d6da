"""What a lane holds until the server has it: the window over which a `LaneSender` sends.

`MemoryWindow` keeps it in memory; an agent with a spool has one more. Pure: time is an argument.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from itertools import islice
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from can_stream.lanes.backlog import Stretch, follows, listing
from can_stream.lanes.held import Held, joined_span, may_merge
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, encode_gap


class WindowLimits(Struct, frozen=True):
    """How much a lane holds unacknowledged, and how many packets may be on their way in each range.

    `trims` is False where the source waits while the lane is full: it then holds one packet more at most.
    """

    max_bytes: int = 32_000_000
    max_in_flight: int = 256
    trims: bool = True


class Window(Protocol):
    """Packets from `hold` to `release`, oldest first. What waits at `open` is the connection's backlog."""

    @property
    def held_bytes(self) -> int:
        """Of what is in memory."""

    @property
    def held_packets(self) -> int:
        """How many wait, wherever they are."""

    @property
    def unsafe_frames(self) -> int:
        """How many frames would be lost with the process."""

    @property
    def trimmed_frames(self) -> int:
        """How many of this start had to be let go."""

    @property
    def oldest_made_at_seconds(self) -> float | None:
        """When the first of those in memory was made."""

    def waiting_frames(self, start_id: str) -> int:
        """How many frames of this start wait, wherever they are."""

    def hold(self, held: Held) -> None:
        """One more, the newest; where there is no room older ones become gaps."""

    def find(self, number: PacketNumber) -> Held | None:
        """A packet in memory."""

    def release(self, number: PacketNumber) -> Held | None:
        """The server has it."""

    def release_through(self, start_id: str, seq: int) -> int:
        """The server has all of this start up to there; how many frames were waiting of it."""

    def open(self, max_ranges: int) -> tuple[list[Stretch], bool]:
        """A connection begins: what its hello lists, and whether that is all there is anywhere."""

    def close(self) -> None:
        """It is gone."""

    @property
    def has_backlog(self) -> bool:
        """Whether `next_backlog` gives something."""

    def next_backlog(self) -> Held | None:
        """The next of the backlog; each is given once in a connection."""


class MemoryWindow:
    """A window in memory alone. `spooled_bytes` of what it holds are known to be on disk too."""

    def __init__(self, limits: WindowLimits) -> None:
        self.limits = limits
        self.held: OrderedDict[PacketNumber, Held] = OrderedDict()
        self.held_bytes = 0
        self.spooled_bytes = 0
        self.trimmed_frames = 0
        self._backlog: deque[PacketNumber] = deque()
        # The last of the current connection's backlog, and of all that waited when it began.
        self._ends: set[PacketNumber] = set()

    @property
    def held_packets(self) -> int:
        """How many wait."""
        return len(self.held)

    @property
    def unsafe_frames(self) -> int:
        """How many frames would be lost with the process."""
        return sum(held.data_frames for held in self.held.values() if not held.is_stored)

    @property
    def untried_frames(self) -> int:
        """How many frames were never sent."""
        return sum(held.data_frames for held in self.held.values() if not held.was_tried)

    @property
    def stored_frames(self) -> int:
        """How many frames are known to be on disk too."""
        return sum(held.data_frames for held in self.held.values() if held.is_stored)

    @property
    def oldest_made_at_seconds(self) -> float | None:
        """When the first was made."""
        return next((held.made_at_seconds for held in self.held.values()), None)

    def waiting_frames(self, start_id: str) -> int:
        """How many frames of this start wait."""
        return sum(held.data_frames for held in self.held.values() if held.number.start_id == start_id)

    def hold(self, held: Held) -> None:
        """One more, the newest; where there is no room older ones become gaps."""
        self.held[held.number] = held
        self.held_bytes += len(held.packet)
        if self.limits.trims and self.held_bytes - self.spooled_bytes > self.limits.max_bytes:
            self._trim()

    def put_first(self, held: Held) -> None:
        """One that is older than all that is here."""
        self.held[held.number] = held
        self.held.move_to_end(held.number, last=False)
        self.held_bytes += len(held.packet)

    def find(self, number: PacketNumber) -> Held | None:
        """A packet that waits."""
        return self.held.get(number)

    def release(self, number: PacketNumber) -> Held | None:
        """The server, or the disk, has it."""
        held = self.held.pop(number, None)
        if held is not None:
            self.held_bytes -= len(held.packet)
            self.spooled_bytes -= len(held.packet) if held.row else 0
        return held

    def release_through(self, start_id: str, seq: int) -> int:
        """The server has all of this start up to there; how many frames were waiting of it."""
        gone = [number for number in self.held if number.start_id == start_id and number.seq <= seq]
        return sum(held.data_frames for number in gone if (held := self.release(number)) is not None)

    def open(self, max_ranges: int) -> tuple[list[Stretch], bool]:
        """A connection begins: what its hello lists, and whether that is all there is."""
        self.close()
        ranges, is_all = listing([held.stretch for held in self.held.values()], max_ranges)
        self.follow(sum(one.packets for one in ranges))
        return ranges, is_all

    def follow(self, packets: int) -> None:
        """The backlog is this many of the oldest."""
        self._backlog.extend(islice(self.held, packets))
        self._ends = {*deque(self._backlog, 1), *deque(self.held, 1)}

    def close(self) -> None:
        """The connection is gone."""
        self._backlog.clear()
        self._ends.clear()
        for held in self.held.values():
            held.was_sent = False

    @property
    def has_backlog(self) -> bool:
        """Whether `next_backlog` gives something."""
        while self._backlog and self._backlog[0] not in self.held:
            self._backlog.popleft()
        return bool(self._backlog)

    def next_backlog(self) -> Held | None:
        """The next of the backlog; each is given once in a connection."""
        return self.held[self._backlog.popleft()] if self.has_backlog else None

    def _trim(self) -> None:
        """Replace the oldest packets by gaps of the same numbers until a tenth of the window is free."""
        goal = self.limits.max_bytes * 9 // 10
        newest = next(reversed(self.held))
        previous: Held | None = None
        rebuilt: OrderedDict[PacketNumber, Held] = OrderedDict()
        for number, held in self.held.items():
            trimming = self.held_bytes - self.spooled_bytes > goal and not held.row and number != newest
            kept = self._given_up(held) if trimming else held
            merged = self._merged(previous, kept) if trimming else None
            if previous is not None and merged is not None:
                self.held_bytes += len(merged.packet) - len(previous.packet) - len(kept.packet)
                del rebuilt[previous.number]
                kept = merged
            rebuilt[kept.number] = previous = kept
        self.held.clear()
        self.held.update(rebuilt)

    def _given_up(self, held: Held) -> Held:
        if held.gap is not None or not held.frames:
            return held
        self.trimmed_frames += held.frames
        gap = held.as_gap(GapReason.WINDOW)
        self.held_bytes += len(gap.packet) - len(held.packet)
        return gap

    def _merged(self, before: Held | None, after: Held) -> Held | None:
        """One gap for two neighbours, or None: what was sent on this connection keeps its number there, and
        no packet lies in two of its ranges."""
        if before is None or before.was_sent or before.row or before.replaces or after.was_sent:
            return None
        if before.number in self._ends or not may_merge(before.gap, after.gap):
            return None
        return merged(before, after) if follows(before.stretch, after.stretch) else None


def merged(before: Held, after: Held) -> Held:
    """One gap for two that follow each other, under the number and in the place of the second."""
    span_ns = joined_span(before.span_ns, after.span_ns)
    frames = (before.frames or 0) + (after.frames or 0)
    reason = GapReason.WINDOW if after.gap is None else after.gap.reason
    gap = Gap(reason, before.first_seq, frames, *(span_ns or (None, None)))
    packet = encode_gap(after.number, gap, before.position)
    return replace(
        after,
        position=before.position,
        packet=packet,
        frames=frames,
        gap=gap,
        span_ns=span_ns,
        made_at_seconds=before.made_at_seconds,
        born_ns=min(before.born_ns, after.born_ns),
    )
