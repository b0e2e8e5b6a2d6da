"""Control messages wait for a connection, up to a number."""

from __future__ import annotations

from can_stream.protocol.control import Heartbeat
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
