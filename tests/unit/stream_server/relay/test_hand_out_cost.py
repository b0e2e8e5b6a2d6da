"""What a packet costs does not depend on how many wait."""

from __future__ import annotations

import time

import numpy as np

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.marker import Marker, activation_name
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Packet
from can_stream.protocol.relay_control import Cursor, SinkHello
from stream_server.relay.direction import RelayDirection
from stream_server.relay.line import hole

ACTIVATION, START, RECORD = activation_name("ab" * 16, 1), "01" * 8, "1" * 32
FACTOR = 16
# A tree would be a third more, a list that is sorted or moved for each packet FACTOR times as much.
MOST = 3.0


def seconds_per_packet(packets: int, *, is_backlog: bool) -> float:
    """CPU time of one-frame packets that come, wait, are stored, handed and settled one by one."""
    direction = RelayDirection("source", "sink", 10**12)
    direction.activate(ACTIVATION)
    marker = Packet(PacketNumber(START, 1), Marker(ACTIVATION), 0)
    direction.arrived(marker, b"", 0, live=True, now_ns=0)
    if is_backlog:
        line = direction._lines.line(START)
        line.put(hole(0, packets, 1, in_doubt=False))
        line.put(hole(packets, packets + 1, 2, in_doubt=False))
    rows = FrameBatch(
        np.zeros(1, np.int64),
        np.ones(1, np.uint32),
        np.zeros(1, np.uint8),
        np.full(1, 8, np.uint8),
        np.zeros((1, 8), np.uint8),
    )
    begun = time.process_time()
    for i in range(packets):
        packet = Packet(PacketNumber(START, i + 2), rows, i)
        direction.arrived(packet, b"body", 1, live=not is_backlog, now_ns=1)
    direction.stored(direction.to_store(PacketNumber(START, i + 2) for i in range(packets)))
    direction.greeted(SinkHello("sink", RECORD), 1)
    direction.served(RECORD)
    for i in range(packets):
        assert direction.next(1, 1) is not None
        direction.settled(Cursor("source", START, i + 1))
    return (time.process_time() - begun) / packets


def test_a_packet_among_many_costs_what_one_among_few_does() -> None:
    for is_backlog in (False, True):
        few = min(seconds_per_packet(1000, is_backlog=is_backlog) for _ in range(5))
        many = min(seconds_per_packet(1000 * FACTOR, is_backlog=is_backlog) for _ in range(2))
        assert many / few < MOST
