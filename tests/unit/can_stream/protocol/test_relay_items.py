"""What is handed to a sink: whatever is sent comes out as it is, and any bytes are a value or PacketError."""

from __future__ import annotations

import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.protocol.deflate import Deflater
from can_stream.protocol.errors import PacketError
from can_stream.protocol.hop import Age
from can_stream.protocol.packet_head import MAX_PACKET_BYTES
from can_stream.protocol.relay_control import NOT_SENT
from can_stream.protocol.relay_items import MAX_DIRECTION, Counts, Handed, Item, ItemDecoder, ItemEncoder

START = "0011223344556677"
MOST = 2**53
microseconds = st.integers(0, 2**62 - 1) | st.integers(0, 300)
ages = st.builds(Age, st.none() | microseconds, st.integers(0, MOST), microseconds)
directions = st.sampled_from([0, 1, 127, 128, MAX_DIRECTION])
items = st.builds(Item, directions, ages, st.booleans(), st.binary(max_size=80), st.booleans())


@st.composite
def rows_of_counts(draw: st.DrawFn) -> Counts:
    first = draw(st.integers(0, MOST))
    through = draw(st.integers(first, MOST))
    start_id = draw(st.binary(min_size=8, max_size=8)).hex()
    frames = draw(st.integers(0, through - first))
    reason, in_doubt = draw(st.sampled_from(NOT_SENT)), draw(st.booleans())
    return Counts(draw(directions), start_id, first, through, frames, reason, in_doubt)


def deflated(data: bytes) -> bytes:
    return Deflater().pack(data)


def decoded(data: str) -> Handed:
    return ItemDecoder().decode(deflated(bytes.fromhex(data)))


@given(st.lists(items | rows_of_counts(), max_size=8))
def test_whatever_is_handed_arrives_as_it_is(sent: list[Handed]) -> None:
    encoder, decoder = ItemEncoder(), ItemDecoder()
    assert [decoder.decode(encoder.encode(one)) for one in sent] == sent


@given(st.binary(max_size=60), st.integers(0, 7), st.booleans())
def test_any_bytes_are_handed_or_a_packet_error(data: bytes, first: int, framed: bool) -> None:
    with suppress(PacketError):
        handed = ItemDecoder().decode(deflated(bytes((first,)) + data) if framed else data)
        assert 0 <= handed.direction <= MAX_DIRECTION
        if isinstance(handed, Counts):
            assert 0 <= handed.first <= handed.through <= MOST
            assert 0 <= handed.frames <= handed.through - handed.first


def test_the_bytes_are_those_of_the_protocols_page() -> None:
    item = Item(1, Age(1200, 9, 450), fresh=True, packet=b"\x02\x01...")
    counts = Counts(1, START, 42, 342, 290, "too_old")
    encoder = ItemEncoder()
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    first, second = (stream.decompress(encoder.encode(one) + b"\0\0\xff\xff") for one in (item, counts))
    assert first == bytes.fromhex("02 01 b109 09 c203") + b"\x02\x01..."
    assert second == bytes.fromhex(f"01 01 {START} 2a ac02 a202 08")


def test_the_longest_packet_has_room() -> None:
    longest = Item(MAX_DIRECTION, Age(2**62 - 1, MOST, 2**62), fresh=False, packet=bytes(MAX_PACKET_BYTES))
    assert ItemDecoder().decode(ItemEncoder().encode(longest)) == longest


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "1 byte expected"),
        ("05 00 01 00 00", "kind 5"),
        ("07 00 01 00 00", "kind 7"),
        ("08 00 01 00 00", "kind 8"),
        ("00 8020 01 00 00", "direction is 4096"),
        ("00 00 01 00", "1 byte expected"),
        (f"01 00 {START} 81808080808080 10 00 00 08", "position is"),
        (f"01 00 {START} 80808080808080 10 01 00 08", "positions is 1, 0 to 0"),
        (f"01 00 {START} 05 02 03 08", "frames is 3, 0 to 2"),
        (f"01 00 {START} 05 02 02 10", "reason 16 is unknown"),
        (f"01 00 {START} 05 02 02", "1 byte expected"),
        (f"01 00 {START} 05 02 02 08 00", "behind the end"),
        ("01 00 0011", "8 bytes expected"),
    ],
)
def test_what_no_server_may_send_is_refused_with_its_reason(data: str, why: str) -> None:
    with pytest.raises(PacketError, match=why):
        decoded(data)


@pytest.mark.parametrize(
    ("first", "fresh", "from_log"), [(0, False, False), (4, False, True), (6, True, True)]
)
def test_an_item_says_whether_it_is_fresh_and_whether_a_log_is_played(
    first: int, fresh: bool, from_log: bool
) -> None:
    assert decoded(f"{first:02x} 00 01 00 00 ff") == Item(0, Age(0, 0, 0), fresh, b"\xff", from_log)


def test_beside_what_is_refused_the_least_row_passes() -> None:
    assert decoded(f"01 00 {START} 05 02 02 0f") == Counts(0, START, 5, 7, 2, "gap")
    assert decoded(f"03 00 {START} 05 02 02 0f") == Counts(0, START, 5, 7, 2, "gap", in_doubt=True)
