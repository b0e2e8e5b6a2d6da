"""What is handed out next, and what is not handed because it is too old or too much. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.relay_control import NotSent
from stream_server.relay.line import Line, Row, Tile
from stream_server.relay.lines import Lines
from stream_server.relay.stretches import Stretch
from stream_server.relay.terms import Terms, is_open
from stream_server.relay.values import PASSED, Bounds, RelayCounts, RelayItem

# The event loop is shared: what is done in one call takes a few milliseconds.
_MOST_COUNTED: Final = 256
_MOST_AGED: Final = 4096
_MOST_LOOKED_AT: Final = 256


class HandOut:
    """Goes through lines in their order, each position once until they are rewound.

    `due_ns`: when to ask again although nothing has happened. `has_pressure`: more waits, or has just waited,
    than bounds allow.
    """

    def __init__(self, lines: Lines, terms: Terms, bounds: Bounds) -> None:
        self.due_ns: int | None = None
        self.has_pressure = False
        self._lines = lines
        self._terms = terms
        self._bounds = bounds

    def next(self, now_ns: int, room_frames: int) -> RelayItem | RelayCounts | None:
        """As `RelayDirection.next`."""
        self.due_ns = None
        while (line := self._lines.to_hand()) is not None:
            tile = line.tile(line.handed)
            if isinstance(tile, Stretch) and tile.reason in PASSED:
                line.hand(tile.through)
                continue
            if tile is None or self._waits(tile, now_ns):
                return None
            if isinstance(tile, Row) and not self._terms.is_refused(tile, now_ns):
                return _item(line, tile, room_frames)
            return self._counts(line, now_ns)
        return None

    def _waits(self, tile: Tile, now_ns: int) -> bool:
        """Whether what comes next is yet to come, and worth to be waited for."""
        if is_open(tile) and now_ns < self._terms.held_until_ns:
            self.due_ns = self._terms.held_until_ns
            return True
        if isinstance(tile, Stretch) and not tile.is_count and not self._terms.is_refused(tile, now_ns):
            assert tile.born_ns is not None
            self.due_ns = tile.born_ns + self._terms.max_age_ns + 1
            return True
        return False

    def _counts(self, line: Line, now_ns: int) -> RelayCounts:
        """What is refused from here on becomes counts, and of these the first is handed."""
        first = line.handed
        for done, tile in enumerate(line.tiles(first)):
            if done >= _MOST_COUNTED or not is_open(tile) or not self._terms.is_refused(tile, now_ns):
                break
            line.count(tile, "too_old")
        made = line.stretches.at(first)
        assert made is not None
        line.hand(made.through)
        return RelayCounts(
            line.start_id, first, made.through, made.frames_from(first), _reason(made), made.in_doubt
        )

    # -- packets that are in the recording alone

    def absent(self, most: int) -> list[PacketNumber]:
        """As `RelayDirection.absent`."""
        line = self._lines.to_hand()
        if line is None:
            return []
        numbers: list[PacketNumber] = []
        for looked_at, tile in enumerate(line.tiles(line.handed)):
            if looked_at >= _MOST_LOOKED_AT or len(numbers) >= most:
                break
            if isinstance(tile, Row):
                if tile.body is not None:
                    break
                numbers.append(PacketNumber(line.start_id, tile.seq))
            elif tile.reason == "hole":
                break
        return numbers

    def read(self, numbers: Sequence[PacketNumber], bodies: Mapping[PacketNumber, bytes]) -> None:
        """As `RelayDirection.read`."""
        looked_for = set(numbers)
        for start_id in {number.start_id for number in numbers}:
            line = self._lines.get(start_id)
            if line is None:
                continue
            for looked_at, tile in enumerate(line.tiles(line.handed)):
                if looked_at >= 2 * _MOST_LOOKED_AT:
                    break
                if isinstance(tile, Row) and PacketNumber(start_id, tile.seq) in looked_for:
                    _take_body(line, tile, bodies.get(PacketNumber(start_id, tile.seq)))

    # -- age and bounds

    def aged(self, now_ns: int) -> None:
        """As `RelayDirection.aged`."""
        done = 0
        for line in self._lines:
            for tile in line.tiles(line.aged):
                if is_open(tile):
                    why = self._why_not(tile, now_ns)
                    if why is None or done >= _MOST_AGED:
                        break
                    line.count(tile, why)
                    done += 1
                line.aged = tile.through
        self._trim()

    def _why_not(self, tile: Tile, now_ns: int) -> NotSent | None:
        if isinstance(tile, Stretch) and now_ns < self._terms.held_until_ns:
            return None
        if self._terms.is_refused(tile, now_ns):
            return "too_old"
        assert tile.born_ns is not None
        if isinstance(tile, Stretch) or now_ns - tile.born_ns <= self._bounds.age_ns:
            return None
        self.has_pressure = True
        return "trimmed"

    def _trim(self) -> None:
        """The oldest frames go, as many as there are too many."""
        waiting = sum(line.waiting for line in self._lines)
        if waiting <= self._bounds.frames // 2:
            self.has_pressure = False
        surplus = waiting - self._bounds.frames
        for line in self._lines if surplus > 0 else ():
            for tile in line.tiles(line.aged):
                if surplus <= 0:
                    return
                if isinstance(tile, Row):
                    self.has_pressure = True
                    surplus -= tile.through - tile.first
                    line.count(tile, "trimmed")


def _item(line: Line, row: Row, room_frames: int) -> RelayItem | None:
    if room_frames <= 0 or row.body is None:
        return None
    assert row.born_ns is not None
    number = PacketNumber(line.start_id, row.seq)
    item = RelayItem(
        number, row.position, row.first, row.through, row.born_ns, row.fresh, row.body, row.came_ns
    )
    line.hand(row.through)
    # `born_ns` may be far too early, where the way was slow: nothing of it was made after it came.
    line.has_offered = True
    line.offered_ns = max(line.offered_ns, row.came_ns or row.born_ns)
    row.fresh = False
    line.drop_body(row)
    return item


def _take_body(line: Line, row: Row, body: bytes | None) -> None:
    if body is not None:
        line.keep_body(row, body)
    elif row.body is None:
        line.count(row, "trimmed")


def _reason(count: Stretch) -> NotSent:
    reason = count.reason
    assert reason != "hole" and reason != "out" and reason != "own"  # noqa: PLR1714, PT018 - narrows the type
    return reason
