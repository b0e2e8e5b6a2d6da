"""Packets put into a recording without a recorder, as its transaction does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from can_stream.lanes.receiver import LaneReceiver
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.control import LaneName
from can_stream.protocol.lanes_control import LaneHello
from can_stream.protocol.packets import Gap, decode_packet
from stream_server.recording import clock_store, openings, recording_store, start_store
from stream_server.recording.recording_store import LaneChange, StoredPacket


def record(
    connection: Connection,
    *bodies: bytes,
    lane: LaneName = "frames",
    dongle_id: str = "can0",
    is_backlog: bool = False,
    received_ns: Callable[[int], int] = lambda _seq: 0,
    span_ns: Callable[[int], tuple[int, int]] = lambda _seq: (0, 0),
) -> None:
    """Packets of one start, in their order; `received_ns` and `span_ns` say when by their number."""
    packets = [decode_packet(body) for body in bodies]
    start_id, positions = packets[0].number.start_id, packets[0].position
    lane_id = start_store.lane_id_of(connection, dongle_id, lane)
    hello = LaneHello(dongle_id, lane, 1, next_frame=None if positions is None else 0)
    opened = openings.store(connection, openings.Said(lane_id, hello, start_id, None, 0.0))
    receiver = LaneReceiver(opened.opening.starts)
    for packet, body in zip(packets, bodies, strict=True):
        at_ns = received_ns(packet.number.seq)
        record_of = packet.body if isinstance(packet.body, ClockRecord) else None
        rows: Sequence[StoredPacket] = [
            StoredPacket(
                *packet.number, packet.kind, packet.frames or 0, *span_ns(packet.number.seq), at_ns,
                is_backlog, body, packet.position, record_of,
            )
        ]  # fmt: skip
        change = receiver.change([packet], 0.0)
        stored = [] if isinstance(packet.body, Gap) else rows
        lane_change = LaneChange(lane_id, opened.start_keys, stored, receiver.starts, change, at_ns)
        recording_store.store(connection, [lane_change])
        if (also := clock_store.prepare([lane_change])) is not None:
            also(connection)
        receiver.committed([packet], change)
