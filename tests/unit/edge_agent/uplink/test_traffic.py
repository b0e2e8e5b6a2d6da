"""Control messages wait for a connection, up to a number."""

from __future__ import annotations

from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.control import Heartbeat, Log
from can_stream.protocol.packets import GapReason
from edge_agent.uplink.traffic import MAX_WAITING_CONTROL_MESSAGES, Traffic


def beat(number: int) -> Heartbeat:
    return Heartbeat(number, 1, True)


async def test_control_messages_wait_in_the_order_in_which_they_were_said() -> None:
    traffic = Traffic([])
    assert all(traffic.say(beat(number)) for number in range(3))
    assert [await traffic.next_control_message() for _ in range(3)] == [beat(number) for number in range(3)]


async def test_what_finds_no_room_is_dropped_and_counted_and_later_there_is_room_again() -> None:
    traffic = Traffic([])
    assert all(traffic.say(beat(number)) for number in range(MAX_WAITING_CONTROL_MESSAGES))
    assert [traffic.say(beat(number)) for number in range(2)] == [False, False]
    assert traffic.counts.messages_dropped == 2
    assert await traffic.next_control_message() == beat(0)
    assert traffic.say(beat(7))
    assert traffic.counts.messages_dropped == 2


def lane(made_at_seconds: float | None, *, paused: bool = False) -> LaneSender:
    """A lane whose oldest packet was made then."""
    lane = LaneSender("van7-can0", "frames", "00" * 8, WindowLimits(100_000), 1000)
    if made_at_seconds is not None:
        lane.take_loss(GapReason.START, None, made_at_seconds)
    lane.paused = paused
    return lane


async def test_a_lane_that_waits_for_an_ack_stalls_until_one_comes() -> None:
    traffic = Traffic([lane(100.0), lane(None)])
    traffic.welcomed(90.0)
    assert traffic.stalled_seconds(130.0) == 30.0
    traffic.acknowledged(0, 125.0)
    assert traffic.stalled_seconds(130.0) == 5.0
    traffic.welcomed(128.0)
    assert traffic.stalled_seconds(130.0) == 2.0


async def test_an_ack_for_one_lane_says_nothing_of_another() -> None:
    traffic = Traffic([lane(100.0), lane(100.0)])
    traffic.acknowledged(0, 125.0)
    assert traffic.stalled_seconds(130.0) == 30.0


async def test_who_waits_for_nothing_does_not_stall() -> None:
    assert Traffic([]).stalled_seconds(1000.0) == 0.0
    assert Traffic([lane(None), lane(0.0, paused=True)]).stalled_seconds(1000.0) == 0.0


async def test_what_is_spent_holds_everything_but_presence_until_more_is_allowed() -> None:
    traffic = Traffic([])
    log = Log(1, "warning", "uplink", "something")
    assert traffic.say(log), "there is no budget"
    traffic.allow_bytes(100)
    assert traffic.say(log)
    traffic.counts.bytes_up += 100
    assert [traffic.say(log), traffic.say(beat(1))] == [False, True]
    assert traffic.counts.messages_dropped == 1
    traffic.has_unsent.clear()
    traffic.allow_bytes(1)
    assert traffic.has_unsent.is_set()
    assert traffic.say(log)
