"""Whatever frame is written is read back as it was."""

from __future__ import annotations

import socket

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate
from edge_agent.bus.slcan_codec import SlcanParser
from edge_agent.bus.socketcan import SocketCanBus
from edge_agent.config.dongle import DongleSection
from edge_agent.transmit.slcan_writer import lines_of
from edge_agent.transmit.socketcan_writer import SocketCanWriter
from tests.helpers.strategies import frame_batches


def writable(frames: FrameBatch) -> FrameBatch:
    """Those that can be put on a bus, as others would read them: received, and without a time."""
    chosen = frames[(frames.flags & FrameFlag.ERROR) == 0]
    flags = chosen.flags & ~np.uint8(FrameFlag.TX)
    return FrameBatch(chosen.timestamp_ns * 0, chosen.arbitration_id, flags, chosen.length, chosen.data)


def without_times(frames: FrameBatch) -> FrameBatch:
    return FrameBatch(
        frames.timestamp_ns * 0, frames.arbitration_id, frames.flags, frames.length, frames.data
    )


@given(st.lists(frame_batches(max_size=12).map(writable), min_size=1, max_size=3))
def test_every_frame_is_read_back_from_a_socket(batches: list[FrameBatch]) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    source = SocketCanBus(DongleSection("can0", fd=True), open_socket=lambda _: theirs)
    writer = SocketCanWriter(ours, "can0", fd=True, link=None)
    for batch in batches:
        begin = 0
        read: list[FrameBatch] = []
        while begin < len(batch):
            taken = writer.write(batch[begin:])
            begin += taken
            read += [item for item in source.read(1.0) if isinstance(item, FrameBatch)]
        assert without_times(concatenate(read)).equals(batch)
    assert source.malformed == 0
    writer.close()
    source.close()


@given(frame_batches().map(writable))
def test_every_frame_is_read_back_from_the_lines_of_an_adapter(frames: FrameBatch) -> None:
    is_classic = (frames.flags & FrameFlag.FD) == 0
    parsed = SlcanParser().parse(b"".join(lines_of(frames)), 0)
    # What the protocol cannot say: raw length codes, and the error state indicator.
    flags = frames.flags & ~np.uint8(FrameFlag.ESI)
    length = np.where(is_classic, np.minimum(frames.length, 8), frames.length)
    said = FrameBatch(frames.timestamp_ns, frames.arbitration_id, flags, length, frames.data)
    assert without_times(parsed.frames).equals(said)
    assert (parsed.replies, parsed.malformed) == ((), 0)
