"""One bus that a group's other side may write to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from msgspec.structs import replace

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of
from can_stream.protocol.control import Confirms
from can_stream.protocol.errors import SessionError
from can_stream.protocol.relay_control import Cursor, Direction, Totals
from can_stream.protocol.relay_items import Counts
from edge_agent.config.transmit import RelaySection, ReplayRule
from edge_agent.relay.bus_facts import BusFacts
from edge_agent.relay.record import MAX_BURST, RECORD_BYTES, Record
from edge_agent.relay.sink import Sink, SinkLimits
from edge_agent.transmit.policy import RelayPolicy, TargetBus
from tests.helpers.relay_sink_world import Memory, World

MS = 1_000_000
SECOND = 1_000 * MS
BEGIN = 100 * SECOND
S = "00" * 8
ON = World.name(1)
DIRECTION = Direction("b", "a", ON)
UP = BusFacts(TargetBus(listen_only=False, fd=False), "bus", bit_rate=500_000)
SECTION = RelaySection(transmit="all", max_age_seconds=2, policy=[ReplayRule(1, "never")])
TX = int(FrameFlag.TX)


class Gateway:
    """A sink with a clock, a lease and a server that hands frames of one start, all of them fresh."""

    def __init__(
        self, limits: SinkLimits | None = None, memory: Memory | None = None, facts: BusFacts = UP
    ) -> None:
        self.now_ns = BEGIN + SECOND
        self.facts = facts
        self.position = 0
        self.memory = Memory(RECORD_BYTES) if memory is None else memory
        self.record = Record(self.memory, "boot", "a" * 32, BEGIN if memory is None else self.now_ns)
        self.sink = Sink("b", self.record, RelayPolicy(SECTION), limits or SinkLimits(2.0), self.now_ns)
        self.sink.emptied(self.now_ns)
        self.sink.directed(DIRECTION, self.now_ns)
        self.sink.leased(self.now_ns, [ON])

    def hand(self, *ids: int, flags: int = 0, age_ns: int = 0) -> None:
        """An item of frames of these ids."""
        frames = batch_of([(0, one, flags, 1, bytes([row])) for row, one in enumerate(ids)])
        self.sink.take_item(S, self.position, frames, self.now_ns - age_ns, True, self.now_ns)
        self.position += len(ids)

    def count(self, frames: int) -> None:
        """A row of counts."""
        row = Counts(0, S, self.position, self.position + frames, frames, "trimmed")
        self.sink.take_counts(row, self.now_ns)
        self.position += frames

    def next(self) -> list[int] | None:
        """The ids of the next burst."""
        burst = self.sink.next_burst(self.now_ns, self.facts)
        return None if burst is None else burst.arbitration_id.tolist()

    def send(self) -> list[int]:
        """All that may be sent: each burst is on the bus at once, and read back."""
        sent: list[int] = []
        while (burst := self.sink.next_burst(self.now_ns, self.facts)) is not None:
            sent += burst.arbitration_id.tolist()
            self.sink.written(len(burst), self.now_ns)
            self.sink.echoed(echo(burst), self.now_ns)
        return sent

    def wants_emptying(self) -> bool:
        """Whether its driver is to be emptied."""
        return self.sink.wants_emptying

    def totals(self) -> Totals:
        """What the record says of the start."""
        return self.record.cursor("a", S).totals

    def passes(self, ns: int) -> None:
        """Time goes by, and nobody looks at the bus."""
        self.now_ns += ns
        self.sink.tick(self.now_ns)


def echo(burst: FrameBatch) -> FrameBatch:
    flags = burst.flags | np.uint8(TX)
    return FrameBatch(burst.timestamp_ns, burst.arbitration_id, flags, burst.length, burst.data)


def echoes(ids: Sequence[int]) -> FrameBatch:
    return batch_of([(0, one, TX, 1, bytes([row])) for row, one in enumerate(ids)])


# -- a loop


def test_where_own_frames_come_back_from_others_nothing_more_is_sent() -> None:
    one = Gateway()
    one.hand(*range(10, 60))
    sent = one.send()
    assert sent == list(range(10, 60))
    others = batch_of([(0, 10 + row, 0, 1, bytes([row])) for row in range(30)])
    assert one.sink.loops.hear(others, one.now_ns)
    one.hand(7)
    assert one.send() == []
    assert one.sink.waits_for.startswith("loop: ")
    one.sink.disconnected(one.now_ns)
    one.sink.directed(DIRECTION, one.now_ns)
    one.hand(8)
    assert one.send() == [], "nor on another connection"
    assert one.sink.waits_for.startswith("loop: ")


def test_a_loop_is_over_with_its_activation_and_not_with_the_process() -> None:
    one = Gateway()
    one.hand(*range(10, 60))
    one.send()
    one.sink.loops.hear(batch_of([(0, 10 + row, 0, 1, bytes([row])) for row in range(30)]), one.now_ns)
    again = Gateway(memory=one.memory)
    again.position = 50
    again.hand(7)
    assert again.send() == []
    assert again.sink.waits_for.startswith("loop: ")
    next_one = World.name(2)
    again.sink.directed(Direction("b", "a", next_one), again.now_ns)
    assert again.sink.waits_for == ""
    again.sink.leased(again.now_ns, [next_one])
    again.position = 50
    again.hand(9)
    assert again.send() == [9]


def test_frames_that_the_driver_did_not_take_are_none_that_come_back() -> None:
    one = Gateway()
    one.hand(*[10] * 40)
    for _ in range(40):
        if one.next() is not None:
            one.sink.written(0, one.now_ns)
        one.passes(10 * MS)
    assert not one.sink.loops.hear(batch_of([(0, 10, 0, 1, bytes([row])) for row in range(40)]), one.now_ns)


# -- what goes, in which order


def test_one_frame_first_and_then_bursts_in_order() -> None:
    one = Gateway()
    one.hand(*range(10, 60))
    assert one.next() == [10]
    one.sink.written(1, one.now_ns)
    assert (one.next(), one.sink.waits_for) == (None, "burst")
    one.sink.echoed(echoes([10]), one.now_ns)
    assert len(one.next() or []) == MAX_BURST
    one = Gateway()
    one.hand(*range(10, 60))
    one.hand(*range(60, 70))
    assert one.send() == list(range(10, 70))
    assert one.totals() == Totals(sent=60)
    assert (one.sink.waits_for, one.sink.due_in_ns(one.now_ns)) == ("", None)
    assert one.sink.moved() == [Cursor("a", S, 60, Totals(sent=60))]


def test_rows_of_counts_are_settled_in_their_turn() -> None:
    one = Gateway()
    one.hand(10)
    one.count(5)
    one.hand(11)
    assert one.next() == [10]
    assert one.record.cursor("a", S).position == 0
    one.sink.written(1, one.now_ns)
    one.sink.echoed(echoes([10]), one.now_ns)
    assert one.send() == [11]
    assert one.record.cursor("a", S) == Cursor("a", S, 7, Totals(2, 0, 0, {"trimmed": 5}))


def test_what_comes_late_or_twice_is_not_sent_and_the_server_is_told_where_it_stands() -> None:
    one = Gateway()
    one.hand(10, 11, 12)
    one.send()
    one.sink.moved()
    one.position = 1
    one.hand(11, 12, 13)  # the rest of a packet that was handed before
    assert one.send() == [13]
    one.position = 0
    one.hand(10, 11)
    assert one.send() == []
    assert one.sink.moved() == [Cursor("a", S, 4, Totals(sent=4))]


def test_own_echoes_of_the_other_side_are_never_sent_and_in_no_count() -> None:
    one = Gateway()
    one.hand(10, flags=TX)
    one.hand(11)
    one.hand(12, flags=int(FrameFlag.ERROR))
    assert one.send() == [11]
    assert one.record.cursor("a", S) == Cursor("a", S, 3, Totals(sent=1))


# -- what makes it wait


def test_without_a_lease_it_waits_until_it_is_too_old() -> None:
    one = Gateway()
    one.passes(2 * SECOND + 1)
    one.hand(10)
    assert (one.next(), one.sink.waits_for) == (None, "lease")
    assert one.sink.due_in_ns(one.now_ns) == 2 * SECOND + 1
    one.passes(2 * SECOND + 1)
    assert one.totals() == Totals(not_sent={"too_old": 1})
    one.hand(11)
    one.sink.leased(one.now_ns, [ON])
    assert one.send() == [11]
    one.sink.leased(one.now_ns + 1, [World.name(2)])
    one.now_ns += 1
    one.hand(12)
    assert (one.next(), one.sink.waits_for) == (None, "lease")


def test_of_a_bus_that_is_down_or_whose_rate_is_not_known_it_waits() -> None:
    one = Gateway()
    one.hand(10)
    for facts, why in ((replace(UP, is_up=False), "bus"), (replace(UP, bit_rate=None), "bit_rate")):
        one.facts = facts
        assert (one.next(), one.sink.waits_for) == (None, why)
    one.facts = UP
    assert one.send() == [10]


def test_above_a_share_of_the_bus_it_waits_and_says_for_how_long() -> None:
    one = Gateway(SinkLimits(2.0, max_live_bus_load=0.1), facts=replace(UP, bit_rate=10_000))
    one.hand(*range(10, 40))
    sent = one.send()
    assert 1 <= len(sent) <= 3
    assert one.sink.waits_for == "bus_load"
    wait_ns = one.sink.due_in_ns(one.now_ns)
    assert wait_ns is not None
    assert 0 < wait_ns < SECOND
    one.now_ns += wait_ns + 1
    assert one.next() == [10 + len(sent)]


def test_the_load_of_others_of_this_gateway_counts() -> None:
    one = Gateway()
    one.sink.next_burst(one.now_ns, UP)
    one.sink.spent(batch_of([(0, 1, 0, 8, bytes(8))] * 2_000), one.now_ns)
    one.hand(10)
    assert (one.next(), one.sink.waits_for) == (None, "bus_load")


def test_an_item_beyond_the_credit_or_without_directions_is_refused() -> None:
    one = Gateway(SinkLimits(2.0, queue_frames=10))
    one.hand(*range(10, 20))
    with pytest.raises(SessionError):
        one.hand(20)
    assert one.send() == list(range(10, 20))
    assert one.sink.credit == 20
    one.sink.disconnected(one.now_ns)
    with pytest.raises(SessionError):
        one.hand(21)
    one.sink.directed(None, one.now_ns)
    with pytest.raises(SessionError):
        one.count(1)


def test_new_directions_drop_what_waits_and_begin_credit_anew() -> None:
    one = Gateway(SinkLimits(2.0, queue_frames=10))
    one.hand(*range(10, 15))
    one.sink.directed(DIRECTION, one.now_ns)
    assert (one.next(), one.sink.credit, one.totals()) == (None, 10, Totals())


def test_nothing_is_to_be_handed_before_the_burst_of_before_is_settled() -> None:
    one = Gateway()
    one.hand(10)
    one.next()
    one.sink.written(1, one.now_ns)
    one.sink.disconnected(one.now_ns)
    one.sink.directed(DIRECTION, one.now_ns)
    assert one.sink.credit == 0
    one.sink.echoed(echoes([10]), one.now_ns)
    assert one.sink.credit == SinkLimits(2.0).queue_frames
    assert one.sink.moved() == [Cursor("a", S, 1, Totals(sent=1))]


# -- what becomes of a burst


def test_without_its_echo_for_a_second_a_frame_is_in_doubt_and_nothing_more_goes() -> None:
    one = Gateway()
    one.hand(10, 11)
    one.next()
    one.sink.written(1, one.now_ns)
    assert one.sink.due_in_ns(one.now_ns) == SECOND
    one.passes(SECOND - 1)
    assert one.totals() == Totals()
    one.passes(1)
    assert (one.totals(), one.sink.must_empty) == (Totals(in_doubt=1), True)
    assert (one.next(), one.sink.waits_for) == (None, "queue")
    assert (
        one.sink.echoed(echoes([10]), one.now_ns) == 1
    )  # late: it is empty now, and that frame stays in doubt
    assert one.send() == [11]
    assert one.totals() == Totals(sent=1, in_doubt=1)


def test_what_was_given_up_is_in_doubt_before_the_driver_is_to_be_emptied() -> None:
    gateway = Gateway()
    gateway.hand(11, 12)
    assert gateway.next() == [11]
    gateway.sink.written(1, gateway.now_ns)
    assert gateway.next() is None
    assert not gateway.wants_emptying(), "its echo may still come"
    gateway.passes(SECOND)
    gateway.sink.leased(gateway.now_ns, [ON])
    assert gateway.next() is None
    assert gateway.totals() == Totals(in_doubt=1)
    assert gateway.wants_emptying()
    gateway.sink.emptied(gateway.now_ns)
    assert not gateway.wants_emptying()
    assert gateway.next() == [12], "no frame had to find out"


def test_a_dry_run_has_no_driver_to_be_emptied() -> None:
    gateway = Gateway(SinkLimits(2.0, dry_run=True), Memory(RECORD_BYTES))
    gateway.sink.directed(DIRECTION, gateway.now_ns)
    gateway.hand(11)
    assert gateway.next() is None
    assert gateway.totals() == Totals(not_sent={"dry_run": 1})
    assert not gateway.wants_emptying()


def test_echoes_that_are_lost_leave_their_own_frames_in_doubt_alone() -> None:
    one = Gateway()
    one.hand(9)
    one.send()
    one.hand(10, 11, 12)
    one.next()
    one.sink.written(3, one.now_ns)
    assert one.sink.echoed(echoes([10, 99]), one.now_ns) == 1
    one.passes(SECOND)
    assert one.totals() == Totals(sent=2, in_doubt=2)
    one.sink.emptied(one.now_ns)
    one.hand(13)
    assert one.send() == [13]


def test_what_the_driver_does_not_take_goes_with_the_next_burst() -> None:
    one = Gateway()
    one.hand(9)
    one.send()
    one.hand(10, 1, 11, 12)
    assert one.next() == [10, 11, 12]
    one.sink.written(1, one.now_ns)
    assert one.sink.echoed(echoes([10]), one.now_ns) == 1
    assert (one.next(), one.sink.waits_for) == (None, "queue")
    one.passes(one.sink.due_in_ns(one.now_ns) or 0)
    assert one.next() == [11, 12]
    one.sink.written(0, one.now_ns)
    one.passes(5 * MS)
    assert one.send() == [11, 12]
    assert one.totals() == Totals(4, 0, 0, {"never": 1})


def test_a_bus_that_goes_away_takes_its_burst_with_it() -> None:
    one = Gateway()
    one.hand(10, 11)
    one.next()
    one.sink.written(1, one.now_ns)
    one.facts = replace(UP, is_up=False)
    assert (one.next(), one.sink.waits_for, one.totals()) == (None, "bus", Totals(in_doubt=1))
    one.facts = UP
    assert (one.next(), one.sink.waits_for) == (None, "queue")
    one.sink.emptied(one.now_ns)
    assert one.send() == [11]


def test_what_is_only_taken_counts_as_accepted_whatever_is_read_back() -> None:
    one = Gateway(facts=replace(UP, confirms="queue"))
    one.hand(10)
    one.next()
    one.sink.written(1, one.now_ns)
    assert one.totals() == Totals(accepted=1)
    assert one.sink.echoed(echoes([10]), one.now_ns) == 0
    one.facts = replace(UP, confirms="adapter")
    one.hand(11)
    one.next()
    one.passes(SECOND)
    assert (one.totals(), one.sink.must_empty) == (Totals(accepted=1, in_doubt=1), True)
    one.sink.written(1, one.now_ns)  # the adapter has answered after all
    one.hand(12)
    assert one.next() == [12]


def test_after_a_kill_the_burst_is_in_doubt_and_not_sent_again() -> None:
    one = Gateway()
    one.hand(10, 11)
    one.next()
    again = Gateway(memory=one.memory)
    assert again.sink.hello().cursors == [Cursor("a", S, 1, Totals(in_doubt=1))]
    again.hand(10, 11)
    assert again.send() == [11]


@pytest.mark.parametrize("given_up", [False, True])
def test_after_a_kill_nothing_goes_before_the_driver_is_empty(*, given_up: bool) -> None:
    one = Gateway()
    one.hand(10)
    one.next()
    one.sink.written(1, one.now_ns)
    if given_up:
        one.passes(SECOND)
        assert one.record.burst is None
    record = Record(one.memory, "boot", "b" * 32, one.now_ns)
    assert Sink("b", record, RelayPolicy(SECTION), SinkLimits(2.0), one.now_ns).must_empty


# -- asleep, disabled, dry run


def test_what_the_bus_refuses_is_settled_at_once_also_without_a_lease() -> None:
    one = Gateway(facts=replace(UP, asleep=True))
    one.hand(*range(10, 200))
    one.now_ns += 2 * SECOND - 1
    one.sink.leased(one.now_ns, [])
    assert one.next() is None
    assert one.totals() == Totals(not_sent={"asleep": 190})


@pytest.mark.parametrize("here", [True, False])
def test_a_dry_run_counts_what_it_would_have_sent(*, here: bool) -> None:
    one = Gateway(SinkLimits(2.0, dry_run=here))
    one.sink.directed(replace(DIRECTION, dry_run=not here), one.now_ns)
    one.hand(1, *range(10, 40))
    assert one.send() == []
    assert one.totals() == Totals(not_sent={"never": 1, "dry_run": 30})


def test_the_age_at_the_echo_is_told() -> None:
    one = Gateway()
    one.hand(10, age_ns=7 * MS)
    one.next()
    one.sink.written(1, one.now_ns)
    one.passes(3 * MS)
    one.sink.echoed(echoes([10]), one.now_ns)
    assert one.sink.take_latency_ms() == (10.0, 10.0)
    assert one.sink.take_latency_ms() is None


@pytest.mark.parametrize("confirms", ["queue", "adapter"])
def test_where_no_echo_confirms_the_age_is_that_when_it_was_taken(confirms: Confirms) -> None:
    one = Gateway(facts=replace(UP, confirms=confirms))
    one.hand(10, 11, age_ns=7 * MS)
    one.next()
    one.sink.written(0, one.now_ns)
    assert one.sink.take_latency_ms() is None, "the queue was full"
    one.passes(5 * MS)
    one.next()
    one.passes(3 * MS)
    one.sink.written(1, one.now_ns)
    one.passes(40 * MS)
    one.sink.echoed(echoes([10]), one.now_ns)
    assert one.sink.take_latency_ms() == (15.0, 15.0)


@pytest.mark.parametrize("confirms", ["bus", "queue"])
def test_the_hops_of_what_was_confirmed_add_up_to_its_age(confirms: Confirms) -> None:
    """Driven by hand: 7 ms before it was sent here, 2 on its way, 4 in the queue, 3 in the driver."""
    one = Gateway(facts=replace(UP, confirms=confirms))
    frames = batch_of([(0, 10, 0, 1, bytes(1))])
    one.sink.take_item(S, 0, frames, one.now_ns - 9 * MS, True, one.now_ns, 2 * MS)
    one.passes(4 * MS)
    assert one.next() == [10]
    one.passes(3 * MS)
    one.sink.written(1, one.now_ns)
    one.sink.echoed(echoes([10]), one.now_ns)
    hops = {hop: told.sum_ms for hop, told in one.sink.latencies.hops.hops.items()}
    assert hops == {"before": 7.0, "downlink": 2.0, "queue": 4.0, "driver": 3.0, "echo": 16.0}


def test_what_is_in_doubt_has_no_age_and_the_next_that_is_sent_has() -> None:
    one = Gateway()
    hops = one.sink.latencies.hops.hops
    one.hand(10)
    one.next()
    one.sink.written(1, one.now_ns)
    one.passes(2 * SECOND)
    one.next()
    assert one.totals() == Totals(in_doubt=1)
    assert sum(hops["echo"].counts) == 0
    one.sink.emptied(one.now_ns)
    one.sink.leased(one.now_ns, [ON])
    one.hand(20)
    assert one.send() == [20]
    assert sum(hops["echo"].counts) == 1


def test_two_dongles_of_one_agent_have_the_same_start_and_are_two_sources() -> None:
    one = Gateway()
    one.hand(10)
    one.next()
    one.sink.written(1, one.now_ns)
    one.sink.directed(Direction("b", "other", ON), one.now_ns)
    one.position = 0
    one.hand(20)
    one.sink.echoed(echoes([10]), one.now_ns)
    assert one.send() == [20]
    assert {c.source_dongle_id: c.totals.sent for c in one.sink.moved()} == {"a": 1, "other": 1}
