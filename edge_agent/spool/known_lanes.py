"""The lanes that have packets on disk: those that are spooled now, and what earlier starts left of others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from can_stream.lanes.sender import LaneSender
from can_stream.protocol.lanes_control import LedgerEntry
from edge_agent.lanes.disk_backlog import DiskBacklog
from edge_agent.lanes.disk_part import DiskPart
from edge_agent.lanes.spooled_window import SpooledWindow
from edge_agent.spool.changes import KeptEntry, LaneKey

if TYPE_CHECKING:
    from edge_agent.spool.left import LeftLane

_LARGEST_PACKET_SHARE: Final = 8


class KnownLanes:
    """`spooled` are the windows of those of `lanes` that are; what is left of a lane is an orphan until the
    lane comes."""

    def __init__(self, lanes: Sequence[LaneSender], max_bytes: int) -> None:
        self.spooled: dict[LaneKey, SpooledWindow] = {}
        self._senders: dict[LaneKey, LaneSender] = {}
        self._lanes = lanes
        self._max_packet_bytes = max_bytes // _LARGEST_PACKET_SHARE
        self._left: dict[LaneKey, LeftLane] | None = None
        self._orphans: dict[LaneKey, DiskPart] = {}

    def leave(self, left: Mapping[LaneKey, LeftLane]) -> None:
        """What earlier starts left, of any lane: all there is."""
        self._left = dict(left)
        for key, one in left.items():
            if key not in self.spooled:
                self._orphans.setdefault(key, DiskPart("")).backlog.put_first(one.backlog.stretches)
        for key in self.spooled:
            self._offer(key)

    def adopt(self) -> None:
        """Lanes that are new here get what earlier starts left of them."""
        for lane in self._lanes:
            key: LaneKey = (lane.dongle_id, lane.lane)
            if isinstance(lane.window, SpooledWindow) and key not in self.spooled:
                self.spooled[key], self._senders[key] = lane.window, lane
                lane.window.writer.max_packet_bytes = self._max_packet_bytes
                self._offer(key)

    def _offer(self, key: LaneKey) -> None:
        if self._left is None:
            return
        orphan, left = self._orphans.pop(key, None), self._left.pop(key, None)
        backlog = (
            orphan.backlog if orphan is not None else left.backlog if left is not None else DiskBacklog()
        )
        self.spooled[key].offer(backlog)
        if left is not None:
            self._senders[key].ledger.read(left.ledger)

    def get(self, key: LaneKey) -> DiskPart | None:
        """Of a lane that is spooled, or an orphan."""
        window = self.spooled.get(key)
        return self._orphans.get(key) if window is None else window.disk

    @property
    def start_ids(self) -> frozenset[str]:
        """Of the lanes that are spooled: of this start."""
        return frozenset(window.disk.start_id for window in self.spooled.values())

    def moved(self, left: Mapping[LaneKey, LeftLane], offset: int) -> None:
        """All is in another file, behind what that had."""
        for window in self.spooled.values():
            window.shift_rows(offset)
        for orphan in self._orphans.values():
            orphan.shift_rows(offset)
        self.leave(left)

    def use_disk(self, works: bool) -> None:
        """Whether the disk gives what is there."""
        for window in self.spooled.values():
            window.disk.reader.use_disk(works)
            window.on_ready()

    def disk_lost(self, now_seconds: float) -> None:
        """The file is gone, and orphans with it. The next one begins with what is known."""
        self._orphans.clear()
        self._left = {}
        for key, window in self.spooled.items():
            window.disk_lost(now_seconds)
            self._senders[key].ledger.not_written()

    # -- the ledger

    def changed_ledger(self, keys: Iterable[LaneKey]) -> list[KeptEntry]:
        """What the file does not say yet of the starts of these lanes."""
        return [(key, entry) for key in keys for entry in self._changed(self._senders[key])]

    def ledger_written(self, entries: Iterable[KeptEntry]) -> None:
        """It does now."""
        for key, entry in entries:
            self._senders[key].ledger.written([entry])

    @staticmethod
    def _changed(lane: LaneSender) -> list[LedgerEntry]:
        return lane.ledger.changed(lane.next_seq - 1, lane.next_frame)

    # -- how they stand

    @property
    def frames(self) -> int:
        """How many wait on disk, be they in memory too."""
        windows = sum(
            one.disk.frames + one.memory.stored_frames + one.writer.gathered_frames
            for one in self.spooled.values()
        )
        return windows + sum(orphan.frames for orphan in self._orphans.values())

    @property
    def trimmed_frames(self) -> int:
        """How many the disk had to let go since the start."""
        windows = sum(one.trimmed_frames for one in self.spooled.values())
        return windows + sum(part.earlier_trimmed_frames for part in self._parts())

    def oldest_age_seconds(self, now_seconds: float) -> float | None:
        """Of what is on disk alone; None where nothing is, or its age cannot be known."""
        ages = (part.oldest_age_seconds(now_seconds) for part in self._parts())
        return max((age for age in ages if age is not None), default=None)

    def _parts(self) -> Iterator[DiskPart]:
        yield from (window.disk for window in self.spooled.values())
        yield from self._orphans.values()
