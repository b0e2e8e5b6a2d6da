"""Which directions are open, and what a closed one says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from can_stream.protocol.control import RelaySide
from stream_server.fleet.side import Facts, Side
from stream_server.groups.directions import OPEN, difference, direction

FACTS = Facts("van7", "socketcan", "usb-1", 500_000, fd=False)
ALL = RelaySide(source=True, transmit=True, confirms="bus", max_age_seconds=1.0)


def side(dongle_id: str, knows: bool = True, interface: str = "socketcan", **allows: Any) -> Side:
    facts = msgspec.structs.replace(FACTS, interface=interface)
    return Side(dongle_id, facts, knows, msgspec.structs.replace(ALL, **allows))


def test_a_direction_is_open_where_both_gateways_allow_it() -> None:
    assert direction(side("a", transmit=False), side("b", source=False)) == OPEN
    assert direction(side("a", interface="log"), side("b", from_logs=True)) == OPEN


@pytest.mark.parametrize(
    ("source", "sink", "word", "remedy"),
    [
        (side("a", knows=False), side("b"), "version", "update it"),
        (side("a"), side("b", knows=False), "version", "update it"),
        (side("a", source=False), side("b"), "source", "source = true"),
        (side("a"), side("b", transmit=False), "transmit", "max_age_seconds"),
        (side("a"), side("b", confirms="none"), "unconfirmed", "use an adapter"),
        (
            side("a"),
            side("b", stopped="say `relay start`"),
            "stopped",
            "on the gateway of b: say `relay start`",
        ),
        (side("a", interface="log"), side("b"), "from_logs", "from_logs = true"),
    ],
)
def test_a_closed_one_says_why_and_what_opens_it(source: Side, sink: Side, word: str, remedy: str) -> None:
    said = direction(source, sink)
    assert said.startswith(f"{word}: ")
    assert remedy in said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("agent_id", "van8"),
        ("interface", "slcan"),
        ("device_id", "usb-2"),
        ("bitrate", 250_000),
        ("fd", True),
    ],
)
def test_each_fact_that_is_another_is_a_difference(field: str, value: Any) -> None:
    now = msgspec.structs.replace(FACTS, **{field: value})
    assert str(value) in difference("side A", FACTS, now)
    assert difference("side A", FACTS, FACTS) == ""


def test_what_is_not_known_now_is_none_and_what_was_not_known_is_one() -> None:
    unplugged = msgspec.structs.replace(FACTS, device_id=None, bitrate=None)
    assert difference("A", FACTS, unplugged) == ""
    assert "not known" in difference("A", unplugged, FACTS)
