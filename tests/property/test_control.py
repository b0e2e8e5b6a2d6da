"""Control messages: any text gives a message or ControlMessageError that names the place."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.protocol import control, lanes_control
from can_stream.protocol.errors import ControlMessageError
from can_stream.protocol.identity import identifier_from, is_identifier

DECODERS: list[Callable[[str | bytes], object]] = [
    control.decode_agent_control_message,
    control.decode_server_control_message,
    lanes_control.decode_data_up,
    lanes_control.decode_data_down,
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
HELLO = control.Hello(
    "van7", "00" * 8, "boot", 1, 2, True, "0.1.0", [control.DongleInfo("van7-can0", "socketcan", "can0")]
)


@pytest.mark.parametrize("decode", DECODERS)
@given(text=st.binary(max_size=300) | st.text(max_size=300))
def test_any_text_is_a_message_or_a_message_error(
    decode: Callable[[str | bytes], object], text: str | bytes
) -> None:
    with suppress(ControlMessageError):
        decode(text)


@given(
    st.sampled_from(["hello", "heartbeat", "status", "log", "lanes", "welcome"]),
    st.dictionaries(st.text(max_size=12), json_values, max_size=6),
)
def test_any_object_with_a_known_type_is_a_message_or_a_message_error(
    kind: str, fields: dict[str, object]
) -> None:
    text = json.dumps({**fields, "type": kind})
    for decode in DECODERS:
        with suppress(ControlMessageError):
            decode(text)


def test_a_wrong_field_is_named() -> None:
    text = control.encode_control_message(HELLO).replace('"van7-can0"', '"Van 7"')
    with pytest.raises(ControlMessageError, match=r"dongles\[0\]\.dongle_id"):
        control.decode_agent_control_message(text)


def test_messages_survive() -> None:
    assert control.decode_agent_control_message(control.encode_control_message(HELLO)) == HELLO
    hello = lanes_control.LaneHello(
        "a",
        "frames",
        7,
        [lanes_control.BacklogRange("11" * 8, 1, 6, 40, 99, None)],
        139,
        complete=True,
        starts=[lanes_control.LedgerEntry("00" * 8, 6, 139, 40)],
    )
    lanes = lanes_control.LanesHello("00" * 8, [hello], 2)
    assert lanes_control.decode_data_up(lanes_control.encode_lanes(lanes, 2), 2) == lanes
    welcome = lanes_control.LanesWelcome([6], 1, [[lanes_control.StartBooks("00" * 8, 40, 99, 0)]])
    assert lanes_control.decode_data_down(control.encode_control_message(welcome)) == welcome


def test_a_side_of_version_1_is_told_what_it_knows() -> None:
    """It refuses members that it does not know."""
    listed = lanes_control.BacklogRange("11" * 8, 1, 6, 40, 99, 2.5)
    hello = lanes_control.LaneHello("a", "frames", 7, [listed], 139, complete=True)
    text = lanes_control.encode_lanes(lanes_control.LanesHello("00" * 8, [hello]), 1)
    lane = {"dongle_id": "a", "lane": "frames", "next_seq": 7, "backlog": [["11" * 8, 1, 6, 99, 2.5]]}
    assert json.loads(text) == {"type": "lanes", "start_id": "00" * 8, "lanes": [lane]}
    back = lanes_control.BacklogRange("11" * 8, 1, 6, None, 99, 2.5)
    assert lanes_control.decode_data_up(text, 1).lanes == [lanes_control.LaneHello("a", "frames", 7, [back])]


def test_what_a_newer_side_says_besides_is_ignored() -> None:
    text = control.encode_control_message(HELLO)[:-1] + ',"mood":"good"}'
    assert control.decode_agent_control_message(text) == HELLO


def test_an_oversized_message_is_refused_unread() -> None:
    with pytest.raises(ControlMessageError, match="at most"):
        control.decode_agent_control_message(b"[" * (control.MAX_CONTROL_MESSAGE_BYTES + 1))


@pytest.mark.parametrize("character", ["x", "é", "\U0001f697"])
def test_a_message_is_measured_in_bytes_whatever_it_says(character: str) -> None:
    room = control.MAX_CONTROL_MESSAGE_BYTES - len('{"type":"error","code":"x","message":"y","z":""}')
    fits = character * (room // len(character.encode()))
    text = '{"type":"error","code":"x","message":"y","z":"%s"}'
    assert control.decode_server_control_message(text % fits) == control.Error("x", "y")
    for larger in (text % (fits + character), (text % (fits + character)).encode()):
        with pytest.raises(ControlMessageError, match="at most"):
            control.decode_server_control_message(larger)


@given(st.text(max_size=200))
def test_a_default_id_is_always_an_id(text: str) -> None:
    assert is_identifier(identifier_from(text))


def test_a_default_id_stays_recognisable() -> None:
    assert identifier_from("Van 7/CAN0") == "van-7-can0"


@given(seconds=st.floats(allow_nan=False))
def test_a_heartbeat_is_within_reason_or_refused(seconds: float) -> None:
    text = json.dumps(
        {"type": "welcome", "server_wall_ns": 1, "heartbeat_seconds": seconds, "max_packet_bytes": 1}
    )
    try:
        welcome = control.decode_server_control_message(text)
    except ControlMessageError:
        assert not 1 <= seconds <= 3600
    else:
        assert isinstance(welcome, control.Welcome)
        assert 1 <= welcome.heartbeat_seconds <= 3600


@given(number=st.integers())
def test_what_was_taken_is_a_number_that_a_lane_can_have_or_refused(number: int) -> None:
    text = json.dumps({"type": "lanes_welcome", "taken_through": [number], "max_packet_bytes": 1})
    try:
        welcome = lanes_control.decode_data_down(text)
    except ControlMessageError:
        assert not 0 <= number <= 2**53
    else:
        assert isinstance(welcome, lanes_control.LanesWelcome)
        assert welcome.taken_through == [number]
