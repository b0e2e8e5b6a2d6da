"""Markers: what names an activation, and nothing else, goes through a packet."""

from __future__ import annotations

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.control import RelaySource, decode_server_control_message
from can_stream.protocol.errors import ControlMessageError, PacketError
from can_stream.protocol.marker import MAX_ACTIVATION, Marker, activation_name, put_marker, take_marker
from can_stream.protocol.packet_head import PacketKind, PacketNumber, as_version_1, head_of
from can_stream.protocol.packets import (
    Gap,
    GapReason,
    decode_packet,
    encode_clock,
    encode_gap,
    encode_marker,
    without_marker,
)
from can_stream.protocol.varint import Reader

STORAGE = "0123456789abcdef" * 2
activations = st.builds(
    activation_name, st.binary(min_size=16, max_size=16).map(bytes.hex), st.integers(1, MAX_ACTIVATION)
)
markers = st.just(Marker("")) | st.builds(Marker, activations)
positions = st.none() | st.integers(0, 2**53)
numbers = st.builds(PacketNumber, st.binary(min_size=8, max_size=8).map(bytes.hex), st.integers(1, 2**53))


def body(marker: Marker) -> bytes:
    out = bytearray()
    put_marker(out, marker)
    return bytes(out)


@given(numbers, markers, positions)
def test_a_marker_survives_a_packet_and_stands_for_no_frames(
    number: PacketNumber, marker: Marker, position: int | None
) -> None:
    data = encode_marker(number, marker, position)
    packet = decode_packet(data)
    assert (packet.number, packet.position, packet.body, packet.frames) == (number, position, marker, 0)
    assert packet.kind is PacketKind.MARKER
    assert head_of(data).rows == 0
    assert decode_packet(as_version_1(data)).body == marker


def test_the_bytes_are_those_of_the_protocols_page() -> None:
    data = encode_marker(PacketNumber("0011223344556677", 2), Marker(f"{STORAGE}-300"), 0)
    assert data == bytes.fromhex(f"02 05 0011223344556677 02 00 00 {STORAGE} ac02")
    assert body(Marker("")) == bytes(17)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_marker_or_a_packet_error(data: bytes) -> None:
    reader = Reader(data)
    with suppress(PacketError):
        marker = take_marker(reader)
        assert body(marker) == data[: reader.offset] or data[: reader.offset].endswith(b"\0")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (bytes.fromhex(STORAGE) + b"\0", "names a storage"),
        (bytes.fromhex(STORAGE), "1 byte expected"),
        (bytes.fromhex(STORAGE)[1:], "16 bytes expected"),
        (bytes.fromhex(f"{STORAGE} 8080f6cef1b5eb03"), "activation is"),
    ],
)
def test_what_no_sender_may_send_is_refused_with_its_reason(data: bytes, why: str) -> None:
    with pytest.raises(PacketError, match=why):
        take_marker(Reader(data))


def test_no_record_can_claim_to_stand_for_frames() -> None:
    number = PacketNumber("00" * 8, 2)
    for data in (encode_marker(number, Marker(""), 0), encode_clock(number, ClockRecord("b", 1, True), 0)):
        decode_packet(data)
        with pytest.raises(PacketError, match="stands for 5 frames"):
            decode_packet(data[:12] + b"\5" + data[13:])


def test_nothing_follows_a_marker() -> None:
    with pytest.raises(PacketError, match="behind the end"):
        decode_packet(encode_marker(PacketNumber("00" * 8, 2), Marker(""), 0) + b"\0")


@pytest.mark.parametrize(
    ("storage", "number"), [(STORAGE, 0), (STORAGE, -1), (STORAGE, 10**15), ("0" * 31, 1)]
)
def test_what_names_no_activation_is_not_made(storage: str, number: int) -> None:
    with pytest.raises(ValueError, match="names no activation"):
        activation_name(storage, number)


@given(st.from_regex(r"[0-9a-f]{32}-[0-9]{1,17}\n?", fullmatch=True) | st.text(max_size=50))
def test_every_activation_that_a_server_may_say_can_stand_in_a_marker(name: str) -> None:
    """Else an agent would keep a packet that its server refuses for ever."""
    text = json.dumps({"type": "relay_source", "dongle_id": "a", "activation": name})
    try:
        said = decode_server_control_message(text)
    except ControlMessageError:
        return
    assert isinstance(said, RelaySource)
    assert said.activation is not None
    packet = encode_marker(PacketNumber("00" * 8, 2), Marker(said.activation), 0)
    assert decode_packet(packet).body == Marker(name)


@given(numbers, markers, positions)
def test_a_side_that_knows_no_markers_gets_a_gap_of_nothing(
    number: PacketNumber, marker: Marker, position: int | None
) -> None:
    instead = decode_packet(without_marker(encode_marker(number, marker, position)))
    assert (instead.number, instead.position) == (number, position)
    assert instead.body == Gap(GapReason.SOURCE, number.seq, 0)
    other = encode_gap(number, Gap(GapReason.START, number.seq, None), position)
    assert without_marker(other) is other


def test_relay_source_says_the_end_too() -> None:
    for activation in (f"{STORAGE}-7", None):
        said = RelaySource("van7-can0", activation)
        assert decode_server_control_message(msgspec.json.encode(said)) == said
