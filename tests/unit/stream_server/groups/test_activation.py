"""What an activation pins, when it is on, and when its time is up."""

from __future__ import annotations

import msgspec

from can_stream.protocol.control import RelaySide
from stream_server.fleet.side import Facts, Side
from stream_server.groups.activation import Activation, Asked, duplicate, loop, why_stopped

FACTS = Facts("van7", "socketcan", "usb-1", 500_000, fd=False)
NAME = "ab" * 16 + "-7"
SECOND = 1_000_000_000


def side(facts: Facts) -> Side:
    return Side("can0", facts, knows_relay=True, allows=RelaySide())


def test_it_is_on_until_it_is_stopped_or_over() -> None:
    on = Activation(NAME, Asked(), 0, (FACTS, FACTS))
    assert on.is_on
    assert not msgspec.structs.replace(on, stopped="loop: x").is_on
    assert not msgspec.structs.replace(on, is_ended=True).is_on
    assert not on.is_over(2**62)
    timed = msgspec.structs.replace(on, asked=Asked(active_seconds=10))
    assert [timed.is_over(at * SECOND) for at in (9, 10)] == [False, True]


def test_another_adapter_on_either_side_is_a_reason_to_stop() -> None:
    other = msgspec.structs.replace(FACTS, device_id="usb-2")
    assert why_stopped((FACTS, FACTS), (side(FACTS), side(FACTS))) == ""
    said = why_stopped((FACTS, FACTS), (side(FACTS), side(other)))
    assert said.startswith("side_changed: device id of side B (can0) was usb-1")
    assert "activate again" in said
    assert duplicate("van7").startswith("duplicate_identity: ")


def test_what_an_agent_says_of_a_loop_is_told_in_one_readable_line() -> None:
    assert loop("can0", "loop: 20 frames came back") == (
        "loop: a loop, or both buses have nodes with the same ids (on the bus of can0: 20 frames came back); "
        "take one group out of the circle, then activate again"
    )
    said = loop("can0", "loop: \n\x1b[31m" + "x" * 500)
    assert said.isprintable()
    assert len(said) < 400
