"""Integers on the wire: what goes in comes out, in few bytes, and any bytes are a value or an error."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.protocol.errors import PacketError
from can_stream.protocol.varint import Reader, put_varint, unzigzag, zigzag

HIGHEST = 2**64 - 1
unsigned = st.integers(0, HIGHEST) | st.integers(0, 300)
signed = st.integers(-(2**63), 2**63 - 1)


def encoded(*values: int) -> bytes:
    out = bytearray()
    for value in values:
        put_varint(out, value)
    return bytes(out)


@given(st.lists(unsigned))
def test_unsigned_integers_survive_side_by_side(values: list[int]) -> None:
    reader = Reader(encoded(*values))
    assert [reader.varint("value", HIGHEST) for _ in values] == values
    reader.end()


@given(unsigned)
def test_seven_bits_take_one_byte(value: int) -> None:
    assert len(encoded(value)) == max(1, -(-value.bit_length() // 7))


@given(signed)
def test_signed_integers_survive_and_are_short_where_they_are_small(value: int) -> None:
    assert unzigzag(zigzag(value)) == value
    assert zigzag(value) <= 2 * abs(value) <= zigzag(value) + 1
    assert Reader(encoded(zigzag(value))).signed("value") == value


@given(st.binary(max_size=24), st.integers(0, HIGHEST), st.integers(0, HIGHEST))
def test_any_bytes_are_a_value_within_bounds_or_a_packet_error(data: bytes, one: int, other: int) -> None:
    low, high = sorted((one, other))
    reader = Reader(data)
    with suppress(PacketError):
        assert low <= reader.varint("value", high, low) <= high
    assert 0 <= reader.offset <= len(data)
    reader = Reader(data)
    with suppress(PacketError):
        assert -(2**63) <= reader.signed("value") < 2**63


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "1 byte expected, 0 left at byte 1"),
        (b"\x80", "1 byte expected, 0 left at byte 2"),
        (b"\x80" * 10 + b"\0", "value has more than 10 bytes at byte 1"),
        (b"\x08", "value is 8, 2 to 7 are allowed at byte 1"),
        (b"\x01", "value is 1, 2 to 7 are allowed at byte 1"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(data: bytes, reason: str) -> None:
    reader = Reader(b"?" + data, 1)
    with pytest.raises(PacketError) as caught:
        reader.varint("value", 7, 2)
    assert str(caught.value) == reason


def test_bytes_are_taken_in_order_and_none_may_be_left() -> None:
    reader = Reader(b"abcde")
    assert (reader.byte(), reader.take(2), reader.take(0)) == (ord("a"), b"bc", b"")
    with pytest.raises(PacketError, match="3 bytes expected, 2 left at byte 3"):
        reader.take(3)
    with pytest.raises(PacketError, match="2 bytes behind the end at byte 3"):
        reader.end()
    assert reader.take(2) == b"de", "an error takes nothing"
    reader.end()
