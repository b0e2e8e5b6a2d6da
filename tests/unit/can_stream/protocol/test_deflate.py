"""Deflated messages: what was packed comes out, and nobody makes the receiver hold more than the limit."""

from __future__ import annotations

import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.protocol.deflate import MAX_DEFLATED_BYTES, MAX_HOP_BYTES, Deflater, Inflater
from can_stream.protocol.errors import PacketError


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_messages_come_out_as_they_were_packed(messages: list[bytes]) -> None:
    deflater, inflater = Deflater(), Inflater()
    assert [inflater.unpack(deflater.pack(message)) for message in messages] == messages


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=4))
def test_any_bytes_are_a_message_or_a_packet_error(messages: list[bytes]) -> None:
    inflater = Inflater()
    with suppress(PacketError):
        for message in messages:
            inflater.unpack(message)


def test_what_repeats_costs_little_from_the_second_message_on() -> None:
    deflater, message = Deflater(), bytes(range(256))
    first, second = deflater.pack(message), deflater.pack(message)
    assert len(second) < len(first) // 10


def test_the_longest_message_passes_and_one_byte_more_does_not() -> None:
    assert len(Inflater().unpack(Deflater().pack(bytes(MAX_HOP_BYTES)))) == MAX_HOP_BYTES
    with pytest.raises(PacketError, match="inflates to more than"):
        Inflater().unpack(Deflater().pack(bytes(MAX_HOP_BYTES + 1)))


def test_what_cannot_be_deflated_is_within_the_limit_all_the_same() -> None:
    stored = zlib.compressobj(0, zlib.DEFLATED, -zlib.MAX_WBITS)
    message = (stored.compress(bytes(MAX_HOP_BYTES)) + stored.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert MAX_HOP_BYTES < len(message) <= MAX_DEFLATED_BYTES
    assert len(Inflater().unpack(message)) == MAX_HOP_BYTES


def test_a_message_beyond_the_limit_is_refused_unread() -> None:
    with pytest.raises(PacketError, match="at most"):
        Inflater().unpack(bytes(MAX_DEFLATED_BYTES + 1))


def test_a_stream_that_is_ended_is_refused() -> None:
    with pytest.raises(PacketError, match="ends the stream"):
        Inflater().unpack(zlib.compress(b"last words", wbits=-zlib.MAX_WBITS))
