"""What a sink knows after it was killed, wherever the kill has torn what it was writing."""

from __future__ import annotations

import pytest

from can_stream.protocol.lanes_control import MAX_STARTS
from can_stream.protocol.relay_control import NOT_SENT, Cursor, Totals
from edge_agent.relay.leftover.late import MOST_LEFT
from edge_agent.relay.record import MAX_BURST, NO_BOOT_ID, RECORD_BYTES, SLOT_BYTES, OpenBurst, Record
from tests.helpers.relay_sink_world import KilledError, Memory

ID, NEXT_ID = "a" * 32, "b" * 32
START = "0011223344556677"
BURST = OpenBurst("van-can0", START, 10, 14, 3, {"never": 1})


def record(memory: Memory, now_ns: int = 1_000, boot: str = "boot", new_id: str = ID) -> Record:
    return Record(memory, boot, new_id, now_ns)


def known(one: Record) -> tuple[str, int, list[Cursor], OpenBurst | None]:
    return one.record_id, one.floor_ns, one.cursors(), one.burst


def cursor(position: int, sent: int = 0, in_doubt: int = 0) -> Cursor:
    return Cursor("van-can0", START, position, Totals(sent, in_doubt=in_doubt))


def test_the_next_process_knows_all_of_it() -> None:
    memory = Memory(RECORD_BYTES)
    first = record(memory)
    assert (first.is_new, first.floor_ns, first.cursors()) == (True, 1_000, [])
    first.settle(cursor(4), 2_000, Totals(sent=3, not_sent={"never": 1}), sure_from=2)
    first.open(BURST)
    again = record(memory, 9_000, new_id=NEXT_ID)
    assert not again.is_new
    assert known(again) == known(first)
    assert again.sure_from("van-can0", START) == 2
    again.settle(cursor(14), 9_500, Totals(in_doubt=3, not_sent={"never": 1}), closes=True)
    last = record(memory, 9_900)
    assert last.burst is None
    assert last.cursors() == [Cursor("van-can0", START, 14, Totals(3, 0, 3, {"never": 2}))]


@pytest.mark.parametrize("boot", ["another boot", NO_BOOT_ID])
def test_a_record_of_another_boot_begins_anew(boot: str) -> None:
    memory = Memory(RECORD_BYTES)
    record(memory, boot=NO_BOOT_ID if boot == NO_BOOT_ID else "boot").settle(cursor(4), 2_000, Totals(sent=4))
    assert known(record(memory, 5_000, boot, NEXT_ID)) == (NEXT_ID, 5_000, [], None)


def test_a_record_from_the_future_of_this_clock_is_none_of_this_boot() -> None:
    memory = Memory(RECORD_BYTES)
    record(memory, 5_000)
    assert known(record(memory, 4_000, new_id=NEXT_ID)) == (NEXT_ID, 4_000, [], None)


def _work(one: Record) -> None:
    one.open(BURST)
    one.settle(cursor(14), 3_000, Totals(sent=3, not_sent={"never": 1}), closes=True)


def test_wherever_a_kill_tears_a_write_what_was_true_before_it_is_true() -> None:
    memory = Memory(RECORD_BYTES)
    begun = record(memory)
    begun.settle(cursor(10), 2_000, Totals(sent=10))
    before = bytes(memory)
    states = [known(begun)]
    begun.open(BURST)
    states.append(known(begun))
    for write in range(2):
        for torn_at in range(400):
            torn = Memory(before)
            one = record(torn)
            torn.writes_left, torn.torn_at = write, torn_at
            with pytest.raises(KilledError):
                _work(one)
            torn.writes_left = -1
            assert known(record(torn, 9_000, new_id=NEXT_ID)) in (states[write], known(one))


def test_torn_at_every_byte_of_what_is_written_the_state_before_it_is_true() -> None:
    memory = Memory(RECORD_BYTES)
    begun = record(memory)
    begun.settle(cursor(10), 2_000, Totals(sent=10))
    for number in range(3):  # as long as it gets with other starts beside it
        begun.adopt(Cursor("van-can9", f"{number:016x}", 7, Totals(7, not_sent={"too_old": 1})), 2_000)
    before, old = bytes(memory), known(begun)
    begun.open(BURST)
    after, new = bytes(memory), known(begun)
    first = next(at for at in range(RECORD_BYTES) if before[at] != after[at])
    last = next(at for at in reversed(range(RECORD_BYTES)) if before[at] != after[at])
    found = []
    for torn_at in range(first, last + 2):
        torn = Memory(after[:torn_at] + before[torn_at:])
        found.append(known(record(torn, 9_000, new_id=NEXT_ID)))
        assert found[-1] in (old, new)
    assert (found[0], found[-1]) == (old, new)


def test_one_slot_with_any_byte_changed_is_not_believed() -> None:
    memory = Memory(RECORD_BYTES)
    begun = record(memory)
    begun.settle(cursor(10), 2_000, Totals(sent=10))
    before = bytes(memory), known(begun)
    begun.open(BURST)
    slot = next(at for at in range(RECORD_BYTES) if before[0][at] != memory[at]) // SLOT_BYTES * SLOT_BYTES
    length = len(bytes(memory[slot : slot + SLOT_BYTES]).rstrip(b"\0"))
    for at in range(length):
        wrong = Memory(memory)
        wrong[slot + at : slot + at + 1] = bytes([wrong[slot + at] ^ 1])
        assert known(record(wrong, 9_000, new_id=NEXT_ID)) == before[1]


def test_whatever_a_power_cut_leaves_is_read_or_begun_anew() -> None:
    memory = Memory(RECORD_BYTES)
    one = record(memory)
    one.settle(cursor(10), 2_000, Totals(sent=10))
    one.open(BURST)
    for byte in range(300):
        both = Memory(memory)
        both[byte : byte + 1] = bytes([both[byte] ^ 1])
        both[SLOT_BYTES + byte : SLOT_BYTES + byte + 1] = bytes([both[SLOT_BYTES + byte] ^ 1])
        assert known(record(both, 9_000, new_id=NEXT_ID))[0] in (ID, NEXT_ID)
    assert known(record(Memory(b"\xff" * RECORD_BYTES), 9_000, new_id=NEXT_ID)) == (NEXT_ID, 9_000, [], None)


def test_a_cursor_never_goes_back_and_whoever_is_ahead_is_believed() -> None:
    one = record(Memory(RECORD_BYTES))
    one.settle(cursor(10), 2_000, Totals(sent=10))
    one.settle(cursor(7), 2_100, Totals())
    assert not one.adopt(cursor(10, sent=1), 2_200)
    assert one.cursor("van-can0", START) == cursor(10, sent=10)
    assert one.adopt(cursor(12, sent=11, in_doubt=1), 2_300)
    assert one.cursor("van-can0", START) == cursor(12, sent=11, in_doubt=1)
    assert one.cursor("van-can1", START).position == 0


def test_where_another_was_served_nothing_counts_and_the_floor_is_now() -> None:
    memory = Memory(RECORD_BYTES)
    one = record(memory)
    one.settle(cursor(10), 2_000, Totals(sent=10), sure_from=0)
    one.open(BURST)
    one.begin_anew(3_000)
    assert known(one) == known(record(memory, 9_000)) == (ID, 3_000, [], None)
    assert one.sure_from("van-can0", START) is None


def test_a_start_that_is_forgotten_leaves_a_floor_above_all_that_was_sent_of_it() -> None:
    memory = Memory(RECORD_BYTES)
    one = record(memory)
    most = Totals(2**53, 2**53, 2**53, dict.fromkeys(NOT_SENT, 2**53))
    for number in range(MAX_STARTS):
        one.adopt(Cursor("d" * 64, f"{number:016x}", 2**53 - 1, most), 2_000 + number)
    key = bytes(70)  # of an FD frame
    one.open(
        OpenBurst("d" * 64, START, 0, 2**53, MAX_BURST, dict.fromkeys(NOT_SENT, 2**53), [key] * MAX_BURST)
    )
    one.leave([key] * 2 * MOST_LEFT)
    assert one.floor_ns == 1_000
    one.settle(cursor(1), 9_000, Totals(sent=1))
    assert one.floor_ns == 2_000
    again = record(memory, 9_999, new_id=NEXT_ID)
    assert (again.record_id, again.floor_ns, len(again.cursors())) == (ID, 2_000, MAX_STARTS)
    assert again.cursor("d" * 64, f"{0:016x}").position == 0


def test_what_is_left_in_the_driver_outlives_the_process_and_a_record_that_begins_anew_but_no_boot() -> None:
    memory = Memory(RECORD_BYTES)
    one = record(memory)
    one.leave([b"first", b"second"])
    one.begin_anew(2_000)
    assert record(memory, 9_000).left == [b"first", b"second"]
    assert record(memory, 9_000, boot="another").left == []
