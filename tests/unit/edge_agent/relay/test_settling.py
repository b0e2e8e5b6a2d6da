"""What becomes of frames, in the record."""

from __future__ import annotations

from can_stream.frames.batches import batch_of
from can_stream.protocol.relay_control import Cursor, Direction, NotSent, Totals
from can_stream.protocol.relay_items import Counts
from edge_agent.relay.account.counted import IdCounts
from edge_agent.relay.burst import Burst, Cut
from edge_agent.relay.record import RECORD_BYTES, OpenBurst, Record
from edge_agent.relay.settling import Settling
from edge_agent.relay.waiting import WaitingItem
from tests.helpers.relay_sink_world import Memory, World

S = "00" * 8
FLOOR = 1_000


def settling(memory: Memory | None = None, *cursors: Cursor, begins_anew: bool = False) -> Settling:
    record = Record(memory or Memory(RECORD_BYTES), "boot", "a" * 32, 3_000 if memory else FLOOR)
    made = Settling(record, 3_000)
    made.begin(Direction("b", "a", World.name(1), False, begins_anew, list(cursors)), 3_000)
    return made


def item(position: int, born_ns: int | None, *, fresh: bool = False) -> WaitingItem:
    return WaitingItem(S, position, batch_of([(0, 1, 0, 0, b"")] * 4), born_ns, fresh)


def burst(sure_from: int | None) -> Burst:
    cut = Cut(batch_of([(0, 1, 0, 0, b"")] * 2), [0, 2], [5_000] * 2, 4, [(1, "never")], sure_from)
    return Burst("a", S, cut, "bus", 9_000)


def counts(first: int, through: int, frames: int, reason: NotSent = "gap") -> Counts:
    return Counts(0, S, first, through, frames, reason)


def test_what_was_made_before_the_record_began_is_in_doubt_unless_nobody_can_have_had_it() -> None:
    one = settling()
    assert one.is_doubtful(item(0, FLOOR))
    assert not one.is_doubtful(item(0, FLOOR, fresh=True))
    assert not one.is_doubtful(item(0, FLOOR + 1))
    assert one.is_doubtful(item(0, None))
    one.close(burst(2), Totals(sent=2), 6_000)
    assert one.is_doubtful(item(1, None))
    assert not one.is_doubtful(item(2, None))
    assert one.is_doubtful(item(2, FLOOR))


def test_a_row_of_counts_has_its_reason_or_is_in_doubt_where_the_server_says_so() -> None:
    one = settling()
    one.count(counts(0, 2, 2, "deactivated"), 3_000)
    one.count(Counts(0, S, 2, 5, 3, "too_old", in_doubt=True), 3_100)
    assert one.moved() == [Cursor("a", S, 5, Totals(in_doubt=3, not_sent={"deactivated": 2}))]


def test_of_a_row_that_begins_below_the_cursor_only_the_rest_counts() -> None:
    one = settling()
    one.close(burst(0), Totals(sent=2), 6_000)
    one.count(counts(0, 6, 6), 6_100)
    one.count(counts(1, 6, 5), 6_200)
    assert one.moved() == [Cursor("a", S, 6, Totals(2, 0, 0, {"never": 1, "gap": 2}))]


def test_a_row_without_frames_of_others_moves_the_cursor_alone() -> None:
    one = settling()
    one.close(burst(0), Totals(sent=2), 6_000)
    one.count(counts(4, 9, 0), 6_100)
    assert one.moved() == [Cursor("a", S, 9, Totals(2, 0, 0, {"never": 1}))]
    assert one.moved() == []


def test_what_a_killed_process_has_left_is_in_doubt_and_told() -> None:
    memory = Memory(RECORD_BYTES)
    Record(memory, "boot", "a" * 32, FLOOR).open(OpenBurst("a", S, 3, 9, 4, {"never": 2}))
    expected = [Cursor("a", S, 9, Totals(in_doubt=4, not_sent={"never": 2}))]
    one = settling(memory)
    assert one.moved() == expected
    assert settling(memory).moved() == []
    assert Record(memory, "boot", "a" * 32, FLOOR).cursors() == expected


def test_the_server_is_believed_where_it_is_ahead_and_after_another_was_served_alone() -> None:
    memory = Memory(RECORD_BYTES)
    Record(memory, "boot", "a" * 32, FLOOR)
    settling(memory).close(burst(0), Totals(sent=2), 6_000)
    ahead, behind = Cursor("a", S, 7, Totals(sent=7)), Cursor("a", S, 3, Totals(sent=3))
    assert settling(memory, behind).at(S) == 4
    assert settling(memory, ahead).at(S) == 7
    assert settling(memory, behind, begins_anew=True).at(S) == 3
    assert settling(memory).is_doubtful(item(3, 3_000))
    assert not settling(memory).is_doubtful(item(3, 3_001))


def test_each_frame_that_is_settled_here_counts_for_its_id() -> None:
    one = settling()
    frames = batch_of([(0, arbitration_id, 0, 0, b"") for arbitration_id in (1, 2, 1)])
    cut = Cut(frames, [0, 2, 3], [5_000] * 3, 5, [(1, "never"), (4, "not_allowed")], 0, [7, 8])
    went = Burst("a", S, cut, "bus", 9_000)
    assert went.echo(went.awaited()[0]) == 0
    one.close(went, Totals(sent=1, in_doubt=2), 6_000)
    assert one.by_id.rows() == [
        IdCounts("0x001", {"sent": 1, "in_doubt": 1}),
        IdCounts("0x002", {"in_doubt": 1}),
        IdCounts("0x007", {"never": 1}),
        IdCounts("0x008", {"not_allowed": 1}),
    ]
