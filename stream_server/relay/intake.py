"""What the source brings: packets, what its hellos list, and what turns out to be gone. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from can_stream.frames.batches import FrameBatch
from can_stream.lanes.holdings import NewGap
from can_stream.lanes.opening import Opening
from can_stream.lanes.positions import Positions
from can_stream.protocol.lanes_control import BacklogRange, LaneHello
from can_stream.protocol.marker import Marker
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, Packet
from stream_server.relay.hearing import Missing, missing, note_marks
from stream_server.relay.line import Line, Row, hole, out, own_alone, too_late
from stream_server.relay.lines import Lines
from stream_server.relay.own_frames import own_frames
from stream_server.relay.stretches import Stretch
from stream_server.relay.terms import Terms


class Intake:
    """Fills lines. `hold_ns`: as in `Bounds`."""

    def __init__(self, lines: Lines, terms: Terms, hold_ns: int) -> None:
        self._lines = lines
        self._terms = terms
        self._hold_ns = hold_ns
        self._held_start = ""

    # -- what a hello says

    def heard(self, hello: LaneHello, start_id: str, opening: Opening, said_ns: int) -> None:
        """As `RelayDirection.heard`."""
        self._hold(hello, start_id, said_ns)
        ranges: dict[str, list[BacklogRange]] = {}
        for one in hello.backlog:
            ranges.setdefault(one.start_id, []).append(one)
        for one_id, listed in ranges.items():
            if any(self._terms.is_on(one.activation or "") for one in listed):
                self._lines.line(one_id)
        self._lines.put_in_order(list(opening.starts))
        offered_ns = self._lines.offered_ns(opening.starts)
        for one_id, start in opening.starts.items():
            line = self._lines.get(one_id)
            if line is not None and isinstance(start, Positions):
                note_marks(line, ranges.get(one_id, []))
                is_late = self._lines.is_late(line)
                for part in missing(start, ranges.get(one_id, []), line, said_ns):
                    # An agent that was killed before it had read its spool has left no word of that start.
                    is_older = part.born_ns is not None and part.born_ns <= offered_ns
                    self._know(line, part, is_late=is_late or is_older)
        self.became_gaps(opening.gaps)

    def _hold(self, hello: LaneHello, start_id: str, said_ns: int) -> None:
        """A start whose spool is being opened will list what has to go before what it makes now; but it may
        never come to that."""
        if hello.complete:
            self._terms.held_until_ns = 0
        elif start_id != self._held_start:
            self._terms.held_until_ns = said_ns + self._hold_ns
        self._held_start = start_id

    def _know(self, line: Line, part: Missing, *, is_late: bool) -> None:
        """Frames are known of that the recording does not have."""
        first, through = max(part.first, line.settled), part.through
        if first >= through:
            return
        self._reach(line, first)
        beyond = max(first, line.end)
        if not self._terms.is_on(part.activation):
            if beyond < through:
                line.put(out(beyond, through))
            return
        # What comes to light behind what was handed would be out of order on the bus.
        is_passed = is_late or (line.has_offered and first < line.exposed)
        born_ns = None if is_passed else self._terms.since_opened(part.born_ns)
        # A count at once: a packet that fills a hole has an age of its own.
        make = too_late if is_passed else hole
        is_doubtful = self._terms.is_doubtful(born_ns)
        for known in line.stretches.within(first, min(through, line.end)):
            if known.reason == "out" or (known.reason == "hole" and known.born_ns is None):
                low, high = max(first, known.first), min(through, known.through)
                line.put(make(low, high, born_ns, in_doubt=is_doubtful or known.in_doubt))
        if beyond < through:
            line.put(make(beyond, through, born_ns, in_doubt=is_doubtful))
        self._lines.has_more(line)

    # -- what comes

    def arrived(
        self, packet: Packet, body: bytes, born_ns: int | None, *, live: bool, came_ns: int | None = None
    ) -> bool:
        """As `RelayDirection.arrived`."""
        number, position, what = packet.number, packet.position, packet.body
        born_ns = born_ns if live else self._terms.since_opened(born_ns)
        line = self._lines.get(number.start_id)
        if position is None:
            return False
        if isinstance(what, Marker):
            self._mark(line, number, position, what.activation)
            return False
        if line is None:
            return False
        first, through = max(position, line.settled), position + (packet.frames or 0)
        if first >= through:
            return False
        if first > line.end:
            self._reach(line, first)
        if not self._terms.is_on(line.activation_of(packet.first_seq)):
            if through > line.end:
                line.put(out(max(first, line.end), through))
        elif isinstance(what, FrameBatch):
            if first == line.end or _is_hole(line, first, through):
                in_doubt = not live and self._terms.is_doubtful(born_ns)
                own = own_frames(what)
                row = Row(first, through, number.seq, position, born_ns, body, own, live, in_doubt)
                row.came_ns = came_ns
                if row.others:
                    line.put_row(row)
                else:  # half of what comes from a bus that is relayed to: nothing of it goes down
                    line.put(own_alone(first, through))
        elif isinstance(what, Gap):
            self._take_gap(line, first, through, is_fresh=live and not what.reason.was_a_packet)
        self._lines.has_more(line)
        return True

    def _mark(self, line: Line | None, number: PacketNumber, position: int, activation: str) -> None:
        if line is None and self._terms.is_on(activation):
            line = self._lines.line(number.start_id)
        if line is not None:
            self._reach(line, position)
            line.mark(number.seq, position, activation)

    def _reach(self, line: Line, position: int) -> None:
        """What lies below a known position and is nowhere is a hole; what nobody lists has no age."""
        if position > line.end:
            is_hole = self._terms.is_on(line.activation_at(line.end))
            in_doubt = is_hole and self._terms.is_doubtful(None)
            first = line.end
            line.put(hole(first, position, None, in_doubt=in_doubt) if is_hole else out(first, position))

    # -- what is gone

    def _take_gap(self, line: Line, first: int, through: int, *, is_fresh: bool) -> None:
        """Data that is here is handed all the same: its agent trimmed it after it was sent."""
        self._count_holes(line, first, through)
        beyond = max(first, line.end)
        if beyond < through:
            in_doubt = not is_fresh and self._terms.is_doubtful(None)
            line.put(Stretch(beyond, through, through - beyond, "gap", None, is_fresh, in_doubt))

    def became_gaps(self, gaps: Iterable[NewGap]) -> None:
        """As `RelayDirection.became_gaps`."""
        for gap in gaps:
            line = self._lines.get(gap.start_id)
            if line is not None:
                for first, last in gap.parts:
                    self._count_holes(line, first, last + 1)

    def _count_holes(self, line: Line, first: int, through: int) -> None:
        for known in line.stretches.within(first, through):
            if known.reason == "hole":
                low, high = max(first, known.first), min(through, known.through)
                line.count(hole(low, high, None, in_doubt=known.in_doubt), "gap")
        self._lines.has_more(line)

    def pruned(self, numbers: Iterable[PacketNumber]) -> None:
        """As `RelayDirection.pruned`."""
        gone: dict[str, set[int]] = {}
        for number in numbers:
            gone.setdefault(number.start_id, set()).add(number.seq)
        for start_id, seqs in gone.items():
            line = self._lines.get(start_id)
            if line is not None:
                for row in [row for row in line.rows.values() if row.seq in seqs]:
                    line.count(row, "trimmed")


def _is_hole(line: Line, first: int, through: int) -> bool:
    """Whether all these positions are in holes."""
    known = line.stretches.within(first, through)
    in_holes = [one for one in known if one.reason == "hole"]
    covered = sum(min(through, one.through) - max(first, one.first) for one in in_holes)
    return covered == through - first
