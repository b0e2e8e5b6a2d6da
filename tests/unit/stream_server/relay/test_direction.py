"""One direction of a group: what is handed, in which order, and what becomes counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.lanes.holdings import NewGap
from can_stream.lanes.opening import Opening, opened
from can_stream.protocol.lanes_control import BacklogRange, LaneHello
from can_stream.protocol.marker import Marker, activation_name
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, Packet, encode_frames
from can_stream.protocol.relay_control import Cursor, SinkHello, Totals
from stream_server.relay.direction import RelayDirection
from stream_server.relay.values import NS, Bounds, RelayCounts, RelayItem, Served, StoredLine, StoredRow

ONE = activation_name("ab" * 16, 1)
TWO = activation_name("ab" * 16, 2)
EARLIER, START, LATER = (f"{number:016x}" for number in (1, 2, 3))
RECORD, OTHER = "1" * 32, "2" * 32
NOW = 1000 * NS


class Bench:
    """A direction whose sink takes frames of at most 10 s; packets are numbered by the caller."""

    def __init__(self, bounds: Bounds = Bounds(), *, active: str = ONE) -> None:  # noqa: B008
        self.direction = RelayDirection("source", "sink", 10 * NS, bounds)
        if active:
            self.direction.activate(active)
        self.now_ns = NOW

    def mark(self, activation: str = ONE, seq: int = 1, position: int = 0, start: str = START) -> None:
        packet = Packet(PacketNumber(start, seq), Marker(activation), position)
        self.direction.arrived(packet, b"", self.now_ns, live=True, now_ns=self.now_ns)

    def frames(
        self,
        seq: int,
        position: int,
        frames: int = 1,
        start: str = START,
        age: float | None = 0,
        live: bool = True,
        own: tuple[int, ...] = (),
    ) -> None:
        flags = np.array([FrameFlag.TX if i in own else 0 for i in range(frames)], np.uint8)
        batch = FrameBatch(
            np.zeros(frames, np.int64),
            np.full(frames, 0x123, np.uint32),
            flags,
            np.full(frames, 8, np.uint8),
            np.zeros((frames, 8), np.uint8),
        )
        packet = Packet(PacketNumber(start, seq), batch, position)
        body = encode_frames(packet.number, batch, 1000, position)
        born_ns = None if age is None else self.now_ns - int(age * NS)
        self.direction.arrived(packet, body, born_ns, live=live, now_ns=self.now_ns)

    def gap(self, seq: int, position: int, frames: int | None, *, live: bool = True) -> None:
        packet = Packet(PacketNumber(START, seq), Gap(GapReason.WINDOW, seq, frames), position)
        self.direction.arrived(packet, b"", None, live=live, now_ns=self.now_ns)

    def hear(
        self,
        *ranges: BacklogRange,
        start: str = START,
        next_seq: int = 1,
        next_frame: int = 0,
        complete: bool = True,
    ) -> None:
        hello = LaneHello("source", "frames", next_seq, list(ranges), next_frame, complete)
        opening = opened({}, hello, start, 0, lambda *_: 0)
        self.direction.heard(hello, start, opening, self.now_ns)

    def greet(self, record: str = RECORD, *cursors: Cursor) -> Any:
        said = self.direction.greeted(SinkHello("sink", record, list(cursors)), self.now_ns)
        self.direction.served(record)
        return said

    def handed(self, bodies: dict[PacketNumber, bytes] | None = None) -> list[Any]:
        """All that can be handed now: numbers of packets, and (first, through, frames, why) of counts."""
        out: list[Any] = []
        while True:
            one = self.direction.next(self.now_ns, 1)
            if one is None and (absent := self.direction.absent()):
                self.direction.read(absent, bodies or {})
                continue
            if one is None:
                return out
            out.append(brief(one))

    def settle(self, position: int, start: str = START, sent: int = 0) -> None:
        self.direction.settled(Cursor("source", start, position, Totals(sent=sent)))

    def commit(self, *seqs: int) -> tuple[list[StoredRow], list[StoredLine]]:
        changes = self.direction.to_store([PacketNumber(START, seq) for seq in seqs])
        self.direction.stored(changes)
        return changes.rows, changes.lines


def brief(one: RelayItem | RelayCounts) -> Any:
    if isinstance(one, RelayItem):
        return one.number.seq
    return one.first, one.through, one.frames, "in_doubt" if one.in_doubt else one.reason


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.mark()
    made.greet()
    return made


def waiting(start: str, seq: int, position: int, frames: int, age: float | None = 0) -> BacklogRange:
    return BacklogRange(start, seq, seq, position, frames, age, ONE)


# -- only what is marked


def test_what_comes_behind_the_marker_is_handed_in_order_and_once(bench: Bench) -> None:
    bench.frames(2, 0, 3)
    bench.frames(3, 3, 2)
    assert bench.handed() == [2, 3]
    assert bench.handed() == []


def test_what_came_before_the_marker_is_not_relayed_and_not_counted() -> None:
    bench = Bench()
    bench.greet()
    bench.frames(1, 0, 5)
    bench.mark(seq=2, position=5)
    bench.frames(3, 5, 1)
    assert bench.handed() == [3]
    bench.settle(6)
    assert bench.direction.books(NOW).totals == Totals()


@pytest.mark.parametrize("other", ["", TWO])
def test_behind_a_marker_of_another_activation_nothing_is_relayed(bench: Bench, other: str) -> None:
    bench.frames(2, 0)
    bench.mark(other, seq=3, position=1)
    bench.frames(4, 1)
    bench.mark(ONE, seq=5, position=2)
    bench.frames(6, 2)
    assert bench.handed() == [2, 6]


def test_packets_that_say_no_position_are_not_relayed(bench: Bench) -> None:
    batch = FrameBatch(
        np.zeros(1, np.int64),
        np.ones(1, np.uint32),
        np.zeros(1, np.uint8),
        np.full(1, 8, np.uint8),
        np.zeros((1, 8), np.uint8),
    )
    packet = Packet(PacketNumber(START, 2), batch)
    assert not bench.direction.arrived(packet, b"", NOW, live=True, now_ns=NOW)
    bench.frames(3, 0)
    assert bench.handed() == [3]


def test_an_item_says_its_age_and_whether_it_was_never_offered(bench: Bench) -> None:
    bench.frames(2, 0, age=3)
    bench.frames(3, 1, live=False)
    first, second = bench.direction.next(NOW, 1), bench.direction.next(NOW, 1)
    assert isinstance(first, RelayItem)
    assert isinstance(second, RelayItem)
    assert (first.born_ns, first.fresh, second.fresh) == (NOW - 3 * NS, True, False)
    bench.direction.lost()
    assert bench.handed() == [], "the connection is gone"
    bench.greet()
    again = bench.direction.next(NOW, 1)
    assert isinstance(again, RelayItem)
    assert (again.number.seq, again.fresh) == (2, False)


def test_an_item_needs_room_and_counts_need_none(bench: Bench) -> None:
    bench.frames(2, 0, age=11)
    bench.frames(3, 1)
    assert brief(bench.direction.next(NOW, 0) or pytest.fail("nothing")) == (0, 1, 1, "too_old")
    assert bench.direction.next(NOW, 0) is None
    assert bench.handed() == [3]


# -- order, and what is waited for


def test_newer_frames_wait_behind_a_hole_that_is_young_enough(bench: Bench) -> None:
    bench.hear(waiting(START, 2, 0, 2, age=4), next_seq=3, next_frame=2)
    bench.frames(3, 2)
    assert bench.handed() == []
    assert bench.direction.due_ns == NOW + 6 * NS + 1
    bench.frames(2, 0, 2, live=False)
    assert bench.handed() == [2, 3]


def test_nothing_waits_for_a_hole_that_is_too_old(bench: Bench) -> None:
    bench.hear(waiting(START, 2, 0, 2, age=4), next_seq=3, next_frame=2)
    bench.now_ns += 7 * NS
    bench.frames(3, 2)
    assert bench.handed() == [(0, 2, 2, "too_old"), 3]
    bench.frames(2, 0, 2, live=False)
    assert bench.handed() == [], "it has come late"


def test_a_hole_ages_from_when_it_was_known_first(bench: Bench) -> None:
    bench.hear(waiting(START, 2, 0, 2, age=4), next_seq=3, next_frame=2)
    bench.now_ns += 5 * NS
    bench.hear(waiting(START, 2, 0, 2, age=None), next_seq=3, next_frame=2)
    bench.frames(3, 2)
    assert bench.handed() == []
    bench.hear(waiting(START, 2, 0, 2, age=0), next_seq=4, next_frame=3)
    bench.now_ns += 2 * NS
    assert bench.handed() == [(0, 2, 2, "too_old"), 3]


def test_an_age_that_nobody_knows_is_too_old(bench: Bench) -> None:
    bench.hear(waiting(START, 2, 0, 2, age=None), next_seq=3, next_frame=2)
    bench.frames(3, 2, age=None)
    bench.frames(4, 3)
    assert bench.handed() == [(0, 2, 2, "too_old"), (2, 3, 1, "too_old"), 4]


def test_starts_come_in_the_order_in_which_their_agent_lists_them() -> None:
    bench = Bench()
    bench.greet()
    bench.hear(waiting(EARLIER, 4, 7, 1), waiting(START, 1, 0, 1), start=LATER)
    bench.mark(start=LATER)
    bench.frames(2, 0, start=LATER)
    bench.frames(1, 0, start=START, live=False)
    assert bench.handed() == []
    bench.frames(4, 7, start=EARLIER, live=False)
    assert bench.handed() == [4, 1, 2]


def test_a_start_that_is_listed_when_a_later_one_was_handed_is_counted() -> None:
    bench = Bench(Bounds(hold_ns=0))
    bench.greet()
    bench.hear(start=LATER, complete=False)
    bench.mark(start=LATER)
    bench.frames(2, 0, start=LATER)
    assert bench.handed() == [2]
    bench.hear(waiting(EARLIER, 4, 0, 3), start=LATER, next_seq=3, next_frame=1)
    assert bench.handed() == [(0, 3, 3, "too_old")]


def test_while_a_source_does_not_list_all_it_holds_its_frames_wait_for_a_while() -> None:
    bench = Bench()
    bench.greet()
    bench.hear(start=LATER, complete=False)
    bench.mark(start=LATER)
    bench.frames(2, 0, start=LATER)
    assert bench.handed() == []
    assert bench.direction.due_ns == NOW + NS
    bench.hear(waiting(EARLIER, 4, 0, 3), start=LATER, next_seq=3, next_frame=1)
    bench.frames(4, 0, 3, start=EARLIER, live=False)
    assert bench.handed() == [4, 2]


def test_a_source_that_never_lists_all_is_waited_for_once() -> None:
    bench = Bench()
    bench.greet()
    for _ in range(2):
        bench.hear(start=LATER, complete=False)
    bench.mark(start=LATER)
    bench.frames(2, 0, start=LATER)
    bench.now_ns += NS
    assert bench.handed() == [2]


def test_what_no_hello_lists_is_counted_at_once(bench: Bench) -> None:
    bench.frames(5, 3)
    assert bench.handed() == [(0, 3, 3, "too_old"), 5]


# -- counts


def test_own_echoes_are_in_no_count(bench: Bench) -> None:
    bench.frames(2, 0, 4, age=11, own=(1, 2))
    bench.frames(3, 4, 2, age=11)
    assert bench.handed() == [(0, 6, 4, "too_old")]


def test_a_packet_of_own_echoes_alone_is_not_handed_and_holds_nothing_up(bench: Bench) -> None:
    bench.frames(2, 0, 2)
    bench.frames(3, 2, 3, own=(0, 1, 2))
    bench.frames(4, 5, 2)
    rows, _ = bench.commit(2, 3, 4)
    assert [row.seq for row in rows] == [2, 4]
    assert bench.handed() == [2, 4]
    bench.settle(7, sent=4)
    assert bench.direction.held.frames == 0


def test_echoes_that_come_again_after_a_cut_are_no_hole(bench: Bench) -> None:
    bench.frames(2, 0, 3, own=(0, 1, 2))
    bench.hear(waiting(START, 2, 0, 3), next_seq=3, next_frame=3)
    bench.frames(3, 3)
    assert bench.handed() == [3]


def test_what_a_sink_may_have_settled_in_part_is_counted_by_length_alone(bench: Bench) -> None:
    bench.frames(2, 0, 6, own=(2, 3))
    assert bench.handed() == [2]
    bench.settle(1, sent=1)
    bench.now_ns += 11 * NS
    bench.direction.directed()
    assert bench.handed() == [(1, 2, 1, "too_old"), (2, 4, 0, "too_old"), (4, 6, 2, "too_old")]


def test_a_gap_is_counted_and_those_of_unknown_size_stand_for_nothing(bench: Bench) -> None:
    bench.gap(2, 0, None)
    bench.gap(3, 0, 4)
    bench.frames(4, 4)
    assert bench.handed() == [(0, 4, 4, "gap"), 4]


def test_a_packet_that_its_agent_trimmed_after_it_came_is_handed_all_the_same(bench: Bench) -> None:
    bench.frames(2, 0, 4)
    bench.gap(2, 0, 4, live=False)
    assert bench.handed() == [2]


def test_a_hole_that_turns_out_to_be_a_gap_is_counted(bench: Bench) -> None:
    bench.hear(waiting(START, 2, 0, 4), next_seq=3, next_frame=4)
    bench.frames(3, 4)
    bench.direction.became_gaps([NewGap(START, GapReason.ANNOUNCED, 0, 0, 0, [(0, 3)], 4)])
    assert bench.handed() == [(0, 4, 4, "gap"), 3]


def test_what_retention_takes_stays_as_a_count(bench: Bench) -> None:
    bench.frames(2, 0, 4)
    bench.frames(3, 4)
    bench.direction.pruned([PacketNumber(START, 2), PacketNumber(LATER, 3)])
    assert bench.handed() == [(0, 4, 4, "trimmed"), 3]


def test_more_than_the_bounds_allow_is_trimmed_the_oldest_first() -> None:
    bench = Bench(Bounds(frames=4))
    bench.mark()
    bench.greet()
    for i in range(3):
        bench.frames(2 + i, 2 * i, 2)
    bench.direction.aged(NOW)
    assert bench.direction.books(NOW).buffer_pressure
    assert bench.direction.books(NOW).buffered_frames == 4
    assert bench.handed() == [(0, 2, 2, "trimmed"), 3, 4]
    bench.settle(6, sent=4)
    bench.direction.aged(NOW)
    assert not bench.direction.books(NOW).buffer_pressure


def test_what_is_older_than_the_bounds_allow_is_trimmed_also_where_the_sink_would_take_it() -> None:
    bench = Bench(Bounds(age_ns=5 * NS))
    bench.mark()
    bench.greet()
    bench.frames(2, 0, age=6)
    bench.frames(3, 1, age=4)
    bench.direction.aged(NOW)
    assert bench.handed() == [(0, 1, 1, "trimmed"), 3]


# -- activations


def test_what_is_left_at_the_end_becomes_counts_that_the_sink_settles(bench: Bench) -> None:
    bench.frames(2, 0, 2)
    bench.frames(3, 2, 2)
    assert bench.handed() == [2, 3]
    bench.hear(waiting(START, 4, 4, 3), next_seq=5, next_frame=7)
    bench.settle(2, sent=2)
    bench.direction.deactivate()
    bench.frames(5, 7)
    assert not bench.direction.is_finished
    assert bench.handed() == [(2, 7, 5, "deactivated")]
    bench.settle(7, sent=2)
    assert bench.direction.is_finished


def test_the_next_activation_begins_behind_what_is_left_of_the_last(bench: Bench) -> None:
    bench.frames(2, 0)
    bench.direction.activate(TWO, dry_run=True)
    bench.frames(3, 1)
    bench.mark(TWO, seq=4, position=2)
    bench.frames(5, 2)
    said = bench.direction.directed()
    assert (said.activation, said.dry_run) == (TWO, True)
    assert bench.handed() == [(0, 1, 1, "deactivated"), 5]


# -- the sink


def test_nothing_is_handed_before_the_record_is_known_to_be_stored(bench: Bench) -> None:
    bench.frames(2, 0)
    bench.direction.greeted(SinkHello("sink", OTHER), NOW)
    assert bench.direction.serving == Served(OTHER, NOW)
    assert bench.handed() == []
    bench.direction.served(RECORD)
    assert bench.handed() == []
    bench.direction.served(OTHER)
    assert bench.handed() == [2]


def test_another_record_is_told_so_and_what_was_offered_before_is_in_doubt(bench: Bench) -> None:
    bench.frames(2, 0)
    bench.frames(3, 1)
    assert brief(bench.direction.next(NOW, 1) or pytest.fail("nothing")) == 2
    said = bench.greet(OTHER, Cursor("source", START, 2, Totals(sent=2)))
    assert said.begins_anew
    assert said.cursors == [], "what it says of itself does not count"
    assert bench.handed() == [(0, 1, 1, "in_doubt"), 3]
    assert not bench.greet(OTHER).begins_anew


def test_the_same_record_goes_on_where_it_is(bench: Bench) -> None:
    bench.frames(2, 0)
    bench.frames(3, 1, 3)
    bench.handed()
    said = bench.greet(RECORD, Cursor("source", START, 2, Totals(sent=2)), Cursor("x", START, 9))
    assert not said.begins_anew
    assert said.cursors == [Cursor("source", START, 2, Totals(sent=2))]
    item = bench.direction.next(NOW, 1)
    assert isinstance(item, RelayItem)
    assert (item.number.seq, item.position, item.first, item.through) == (3, 1, 2, 4)
    assert item.frames == 3, "all of it takes credit"


def test_a_cursor_ahead_of_what_is_known_here_settles_what_comes_later() -> None:
    bench = Bench()
    bench.greet(RECORD, Cursor("source", START, 4, Totals(sent=4)))
    bench.hear(
        waiting(START, 1, 0, 0), waiting(START, 2, 0, 4), waiting(START, 3, 4, 1), next_seq=4, next_frame=5
    )
    bench.frames(2, 0, 4, live=False)
    bench.frames(3, 4, 1, live=False)
    assert bench.handed() == [3]


def test_a_cursor_never_goes_back(bench: Bench) -> None:
    bench.frames(2, 0, 4)
    bench.settle(3, sent=3)
    bench.settle(1, sent=1)
    assert bench.direction.books(NOW).totals == Totals(sent=3)
    assert bench.direction.books(NOW).buffered_frames == 1


def test_starts_that_are_long_settled_are_let_go_of_and_stay_in_the_books() -> None:
    bench = Bench()
    for i in range(70):
        start = f"{i + 1:016x}"
        bench.mark(start=start)
        bench.frames(2, 0, start=start)
        bench.settle(1, start=start, sent=1)
    assert bench.direction.books(NOW).totals == Totals(sent=70)
    changes = bench.direction.to_store()
    assert len(changes.lines) == 65
    assert len(changes.gone) == 6
    again = RelayDirection("source", "sink", 10 * NS)
    again.restored([], changes.lines, None, NOW, same_boot=True)
    assert again.books(NOW).totals == Totals(sent=70)


def test_the_books_say_what_waits_and_how_old_it_is(bench: Bench) -> None:
    bench.frames(2, 0, 3, age=2)
    books = bench.direction.books(NOW)
    assert (books.buffered_frames, books.oldest_ns, books.replaying) == (3, 2 * NS, True)
    bench.settle(3)
    books = bench.direction.books(NOW)
    assert (books.buffered_frames, books.oldest_ns, books.replaying) == (0, None, False)


def test_a_sink_that_knows_starts_which_were_let_go_of_changes_neither_books_nor_the_newest_start() -> None:
    bench = Bench()
    bench.greet()
    starts = [f"{i + 1:016x}" for i in range(65)]
    for start in starts[:64]:
        bench.mark(start=start)
        bench.frames(2, 0, start=start)
        assert bench.handed() == [2]
        bench.settle(1, start=start, sent=1)
    bench.mark(start=starts[64])
    bench.direction.lost()
    bench.greet(RECORD, *(Cursor("source", start, 1, Totals(sent=1)) for start in starts[:64]))
    assert bench.direction.books(NOW).totals == Totals(sent=64)
    bench.frames(2, 0, start=starts[64])
    assert bench.handed() == [2]


def test_an_older_start_that_comes_to_light_while_the_sink_is_away_does_not_come_behind(bench: Bench) -> None:
    bench.frames(2, 0)
    assert bench.handed() == [2]
    bench.settle(1, sent=1)
    bench.direction.lost()
    bench.hear(waiting(EARLIER, 4, 0, 3, 1), waiting(START, 2, 0, 0), next_seq=3, next_frame=1)
    bench.frames(4, 0, 3, start=EARLIER, age=1, live=False)
    bench.frames(3, 1)
    bench.greet(RECORD, Cursor("source", START, 1, Totals(sent=1)))
    assert bench.handed() == [(0, 3, 3, "too_old"), 3]


def test_an_older_start_does_not_come_behind_what_a_killed_server_had_handed(bench: Bench) -> None:
    bench.frames(2, 0)
    rows, lines = bench.commit(2)
    assert bench.handed() == [2]  # and sent; the server is killed before it stores that
    again = Bench(active="")
    again.direction.restored(rows, lines, Served(RECORD), NOW, same_boot=True)
    again.direction.activate(ONE)
    again.hear(waiting(EARLIER, 4, 0, 3, 1), waiting(START, 2, 0, 1), next_seq=3, next_frame=1)
    again.greet(RECORD, Cursor("source", START, 1, Totals(sent=1)))
    again.frames(4, 0, 3, start=EARLIER, age=1, live=False)
    again.frames(3, 1)
    assert again.handed() == [(0, 3, 3, "too_old"), 3]


def test_a_start_that_nobody_names_is_not_taken_for_older_than_it_is_where_the_way_was_slow(
    bench: Bench,
) -> None:
    bench.frames(2, 0, age=5)  # made less than 1 s ago, but nobody can know
    assert bench.handed() == [2]
    bench.hear(waiting(EARLIER, 4, 0, 3, 2), start=LATER)
    assert bench.handed() == [(0, 3, 3, "too_old")]


def test_what_was_made_while_a_direction_was_closed_is_not_sent_once_it_is_open_again(bench: Bench) -> None:
    bench.direction.deactivate()
    bench.now_ns += 4 * NS
    bench.direction.activate(ONE, now_ns=bench.now_ns)
    bench.greet()
    bench.now_ns += NS
    bench.hear(waiting(START, 2, 0, 2, 3), waiting(START, 3, 2, 1, 0.5), next_seq=4, next_frame=3)
    bench.frames(2, 0, 2, age=3, live=False)
    bench.frames(3, 2, 1, age=0.5, live=False)
    bench.frames(4, 3)
    assert bench.handed() == [(0, 2, 2, "too_old"), 3, 4]


# -- storage


def test_a_row_is_stored_with_its_packet_and_deleted_when_it_is_settled(bench: Bench) -> None:
    bench.frames(2, 0, 2)
    bench.frames(3, 2, 2, own=(0,))
    rows, lines = bench.commit(2)
    assert rows == [StoredRow(START, 2, 0, 2, NOW)]
    assert [one[2:4] for one in map(tuple_of, lines[0].stretches)] == [(2, "hole")]
    rows, lines = bench.commit(3)
    assert rows == [StoredRow(START, 3, 2, 2, NOW, b"\x80")]
    assert lines[0].stretches == []
    bench.settle(2, sent=2)
    changes = bench.direction.to_store()
    assert [(one.first_seq, one.last_seq) for one in changes.deleted] == [(2, 2)]
    bench.direction.stored(changes)
    assert not bench.direction.to_store()


def tuple_of(one: Any) -> tuple[Any, ...]:
    return one.first, one.through, one.frames, one.reason


def test_what_could_not_be_stored_comes_again(bench: Bench) -> None:
    bench.frames(2, 0)
    lost = bench.direction.to_store([PacketNumber(START, 2)])
    again = bench.direction.to_store([PacketNumber(START, 2)])
    assert lost.rows == again.rows != []


def test_what_is_settled_while_it_is_stored_is_deleted_afterwards(bench: Bench) -> None:
    bench.frames(2, 0)
    changes = bench.direction.to_store([PacketNumber(START, 2)])
    bench.settle(1)
    bench.direction.stored(changes)
    assert [(one.first_seq, one.last_seq) for one in bench.direction.to_store().deleted] == [(2, 2)]


@pytest.mark.parametrize(("same_boot", "expected"), [(True, [2]), (False, [(0, 3, 3, "too_old")])])
def test_after_a_restart_all_that_is_unsettled_is_handed(
    bench: Bench, same_boot: bool, expected: list[Any]
) -> None:
    bench.frames(2, 0, 2)
    bench.frames(3, 2)
    rows, lines = bench.commit(2)
    again = Bench(active="")
    again.direction.restored(rows, lines, Served(RECORD), NOW, same_boot=same_boot)
    again.direction.activate(ONE)
    again.greet()
    assert again.handed({PacketNumber(START, 2): b"body"})[:1] == expected
    again.frames(3, 2, live=False)
    again.frames(4, 3)
    assert again.handed({})[-1] == 4


def test_a_packet_that_is_not_in_the_recording_any_more_is_a_count(bench: Bench) -> None:
    bench.frames(2, 0, 2)
    rows, lines = bench.commit(2)
    again = Bench(active="")
    again.direction.restored(rows, lines, Served(RECORD), NOW, same_boot=True)
    again.direction.activate(ONE)
    again.greet()
    assert again.direction.next(NOW, 1) is None
    assert again.direction.absent() == [PacketNumber(START, 2)]
    assert again.handed({}) == [(0, 2, 2, "trimmed")]


def test_packets_beyond_a_bound_are_kept_in_the_recording_alone() -> None:
    bench = Bench(Bounds(body_bytes=100))
    bench.mark()
    for i in range(10):
        bench.frames(2 + i, i)
    bench.commit(*range(2, 12))
    bench.greet()
    looked_for: list[int] = []
    handed: list[Any] = []
    while len(handed) < 10:
        one = bench.direction.next(NOW, 1)
        if one is None:
            absent = bench.direction.absent(most=3)
            looked_for += [number.seq for number in absent]
            bench.direction.read(absent, dict.fromkeys(absent, b"body"))
        else:
            handed.append(brief(one))
    assert handed == list(range(2, 12))
    assert len(looked_for) > 5


def test_without_an_activation_nothing_is_kept_of_what_comes() -> None:
    bench = Bench(active="")
    bench.mark(ONE)
    bench.frames(2, 0)
    bench.hear(waiting(EARLIER, 4, 0, 3), next_seq=3, next_frame=1)
    assert not bench.direction.to_store()
    assert bench.direction.is_finished


def test_an_empty_opening_changes_nothing(bench: Bench) -> None:
    bench.direction.heard(
        LaneHello("source", "frames", 2, [], 0, True), START, Opening({}, [], 0, []), bench.now_ns
    )
    bench.frames(2, 0)
    assert bench.handed() == [2]
