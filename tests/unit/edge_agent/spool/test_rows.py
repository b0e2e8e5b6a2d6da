"""Packets and what the tables hold of them."""

from __future__ import annotations

import os
from typing import Any

import pytest
from msgspec.structs import replace

from can_stream.frames.batches import batch_of
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import (
    Gap,
    GapReason,
    decode_packet,
    encode_frames,
    encode_gap,
)
from edge_agent.lanes.disk_backlog import SpoolRow
from edge_agent.spool.changes import Moment
from edge_agent.spool.lookup import Start
from edge_agent.spool.row_format import body_of, columns_of, row_of, with_body

NUMBER = PacketNumber("01" * 8, 7)
START = Start(NUMBER.start_id, "this boot", None)
NOW = Moment("this boot", 100.0, None)
FRAMES = [(1_000 + i, 1, 0, 8, os.urandom(8)) for i in range(10)]
PACKET = SpoolRow(
    5,
    NUMBER,
    60,
    7,
    10,
    None,
    (1_000, 1_009),
    90.0,
    encode_frames(NUMBER, batch_of(FRAMES), 1_000, 60),
    10.0,
)
OLD_PACKET = replace(PACKET, position=None, packet=encode_frames(NUMBER, batch_of(FRAMES), 1_000))
"""Of version 1."""
LOSS = Gap(GapReason.SPOOL, 3, None, None, None)
GAP = SpoolRow(5, NUMBER, 20, 3, None, LOSS, None, 90.0, encode_gap(NUMBER, LOSS, 20), 10.0)


@pytest.mark.parametrize("row", [PACKET, OLD_PACKET, GAP])
def test_a_packet_comes_back_as_it_went(row: SpoolRow) -> None:
    found = row_of(columns_of(row, 1, 2), START, NOW)
    assert found == replace(row, packet=b"")
    assert with_body(found, body_of(row)) == row


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (9, "yesterday", "packet 5 is not made of numbers"),
        (3, 8, "packet 5 has numbers 8 to 7"),
        (3, 0, "packet 5 has numbers 0 to 7"),
        (5, -1, "packet 5 has numbers 7 to 7"),
        (10, -1, "packet 5 has numbers 7 to 7"),
        (10, 1.5, "packet 5 is not made of numbers"),
        (6, 99, "99 is not a valid GapReason"),
    ],
)
def test_what_is_no_packet_is_refused_with_a_reason(column: int, value: Any, reason: str) -> None:
    columns = list(columns_of(PACKET, 1, 2))
    columns[column] = value
    with pytest.raises(ValueError, match=reason):
        row_of(tuple(columns), START, NOW)


@pytest.mark.parametrize(
    "body", [b"", body_of(PACKET)[:-1], body_of(replace(PACKET, packet=b"none")), body_of(GAP)[:4] + bytes(9)]
)
def test_a_body_that_cannot_be_read_is_a_gap_with_its_count_and_times(body: bytes) -> None:
    found = with_body(row_of(columns_of(PACKET, 1, 2), START, NOW), body)
    assert decode_packet(found.packet).body == Gap(GapReason.SPOOL, 7, 10, 1_000, 1_009)
    assert (found.number, decode_packet(found.packet).position) == (NUMBER, 60)


def test_the_body_of_another_packet_is_none_of_this_one() -> None:
    other = replace(PACKET, packet=encode_frames(PacketNumber("01" * 8, 8), batch_of(FRAMES), 1_000, 60))
    assert with_body(PACKET, body_of(other)).gap is not None
    elsewhere = replace(PACKET, packet=encode_frames(NUMBER, batch_of(FRAMES), 1_000, 61))
    assert with_body(PACKET, body_of(elsewhere)).gap is not None
