"""BLF and captures: any bytes are read or counted, wherever reading stops; what python-can writes is read."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Final

import can
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, FrameFlag, widen
from can_stream.logs.formats.blf import BlfLog
from can_stream.logs.formats.pcap import PcapLog
from can_stream.logs.log_blocks import LogSource
from tests.helpers.blf_files import blf_object, can_message, container, fd_64, header
from tests.helpers.read_logs import ReadLog
from tests.helpers.strategies import frame_batches

NewLog = Callable[[PurePath, Callable[[int], bytes], int], LogSource]
START_NS: Final = 1_700_000_000_000_000_000

_kinds: Final = st.sampled_from([1, 2, 4, 10, 73, 86, 100, 101, 104, 115, 500])
_objects: Final = st.one_of(
    st.builds(blf_object, _kinds, st.binary(max_size=120), st.integers(0, 2**64 - 1)),
    st.builds(can_message, st.integers(0, 2**32 - 1), st.binary(max_size=8), channel=st.integers(0, 0xFFFF)),
    st.builds(fd_64, st.just(1), st.binary(max_size=64), st.integers(0, 16)).map(
        lambda payload: blf_object(101, payload)
    ),
    # A head whose size is anything.
    st.integers(0, 2**32 - 1).map(lambda size: can_message(1, b"LOBJ")[:8] + struct.pack("<L", size)),
    st.binary(max_size=20),
)
_contents: Final = st.lists(_objects, max_size=12).map(b"".join)
_containers: Final = st.one_of(
    st.builds(container, _contents, st.sampled_from([0, 2, 2, 2, 7])),
    st.builds(lambda content, cut: container(content)[:-cut], _contents, st.integers(1, 9)),
    _contents,
)
_blf_logs: Final = st.builds(
    lambda head, parts: head + b"".join(parts),
    st.builds(header, st.integers(0, 20)),
    st.lists(_containers, max_size=6),
)
_packets: Final = st.binary(max_size=80)
_records: Final = st.builds(
    lambda packet, lie: struct.pack("<4L", 5, 6, len(packet) + lie, len(packet)) + packet,
    _packets,
    st.sampled_from([0, 0, 0, 0, 1, 2**31]),
)
_pcap_logs: Final = st.builds(
    lambda link, records: struct.pack("<LHHlLLL", 0xA1B2C3D4, 2, 4, 0, 0, 0, link) + b"".join(records),
    st.sampled_from([227, 113, 276]),
    st.lists(_records, max_size=12),
)


def _block(kind: int, body: bytes, lie: int) -> bytes:
    body += bytes(-len(body) % 4)
    size = len(body) + 12
    return struct.pack("<LL", kind, size) + body + struct.pack("<L", size + lie)


_packet_bodies: Final = _packets.map(lambda packet: struct.pack("<5L", 0, 0, 7, len(packet), 0) + packet)
_blocks: Final = st.builds(
    _block,
    st.sampled_from([1, 2, 3, 5, 6, 6, 6, 99]),
    st.one_of(st.binary(max_size=60), _packet_bodies),
    st.sampled_from([0, 0, 0, 0, 0, 1]),
)
_SECTION: Final = struct.pack("<LLLHHqL", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
_INTERFACE: Final = struct.pack("<LLHHLL", 1, 20, 227, 0, 0, 20)
_ng_logs: Final = st.lists(_blocks, max_size=12).map(lambda blocks: _SECTION + _INTERFACE + b"".join(blocks))


def read_all(new: NewLog, content: bytes, step: int) -> ReadLog:
    return ReadLog(new(PurePath("x"), io.BytesIO(content).read, step))


@pytest.mark.parametrize(("new", "logs"), [(BlfLog, _blf_logs), (PcapLog, _pcap_logs), (PcapLog, _ng_logs)])
def test_any_bytes_are_read_or_counted_wherever_reading_stops(
    new: NewLog, logs: st.SearchStrategy[bytes]
) -> None:
    @given(content=logs, cut=st.sampled_from([0, 0, 1, 5, 30, 200]), step=st.integers(8, 200))
    def holds(content: bytes, cut: int, step: int) -> None:
        part = content[: max(len(content) - cut, 4)]
        read_all(new, part, 1 << 17).assert_same(read_all(new, part, step))

    holds()


@given(content=st.binary(max_size=300))
def test_any_bytes_behind_a_header_end(content: bytes) -> None:
    read_all(BlfLog, header() + content, 64)
    read_all(PcapLog, _SECTION + content, 64)


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """python-can writes dates of UTC; they are read as local time."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _message(frames: FrameBatch, row: int, channel: int, stamp_ns: int) -> can.Message:
    flags, size = int(frames.flags[row]), int(frames.data_length()[row])
    has_data = bool(flags & (FrameFlag.ERROR | FrameFlag.FD))
    return can.Message(
        stamp_ns / 1e9,
        int(frames.arbitration_id[row]),
        is_extended_id=bool(flags & FrameFlag.EXTENDED),
        is_remote_frame=bool(flags & FrameFlag.REMOTE),
        is_error_frame=bool(flags & FrameFlag.ERROR),
        channel=channel,
        dlc=size if has_data else int(frames.length[row]),
        data=frames.data[row, :size].tobytes(),
        is_fd=bool(flags & FrameFlag.FD),
        is_rx=not flags & FrameFlag.TX,
        bitrate_switch=bool(flags & FrameFlag.BRS),
        error_state_indicator=bool(flags & FrameFlag.ESI),
    )


@pytest.mark.usefixtures("utc")
def test_what_python_can_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("blf") / "x.blf"

    @given(
        frames=frame_batches(),
        channels=st.lists(st.integers(0, 250), min_size=1, max_size=40),
        steps=st.lists(st.integers(0, 2**40), min_size=1, max_size=40),
        size=st.integers(200, 2000),
    )
    def holds(frames: FrameBatch, channels: list[int], steps: list[int], size: int) -> None:
        stamps = START_NS + np.cumsum(np.resize(steps, len(frames))) // 1000 * 1000
        channel = np.resize(channels, len(frames)).tolist()
        with can.BLFWriter(path, max_container_size=size) as writer:
            for row in range(len(frames)):
                writer(_message(frames, row, channel[row], int(stamps[row])))
        log = read_all(BlfLog, path.read_bytes(), 1 << 17)
        assert (log.others, log.unreadable, log.is_cut) == ({}, 0, False)
        assert log.channel == [f"can{number}" for number in channel]
        read = log.frames
        # A double holds these times to a quarter of a microsecond, and their distance from the first is cut.
        assert np.abs(read.timestamp_ns - stamps).max(initial=0) < 1000
        is_error = (frames.flags & FrameFlag.ERROR) != 0
        flags = np.where(is_error, FrameFlag.ERROR, frames.flags)
        lengths = np.where(is_error, frames.data_length(), frames.length)
        assert read.flags.tolist() == flags.tolist()
        assert read.length.tolist() == lengths.tolist()
        assert read.arbitration_id.tolist() == frames.arbitration_id.tolist()
        assert np.array_equal(widen(read.data, 64), widen(frames.data, 64))

    holds()
