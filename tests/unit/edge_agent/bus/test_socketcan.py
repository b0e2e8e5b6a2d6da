"""The SocketCAN source on sockets that stand in for CAN ones: the same records through the same calls.

A pair of local datagram sockets carries `struct can_frame` and is stamped by the kernel. A pair of UDP
sockets also overflows as a CAN socket does, with SO_RXQ_OVFL, and has errors.
What only AF_CAN itself can show is in tests/vm/guest/test_socketcan.py.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from pytest_mock import MockerFixture

from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate
from edge_agent.bus.reader import ReaderLimits, SourceReader
from edge_agent.bus.socketcan import SocketCanBus, kernel_filters, open_can_socket
from edge_agent.bus.source import Dropped, Item
from edge_agent.config.dongle import DongleSection
from edge_agent.config.frame_filters import FrameFilter
from edge_agent.errors import SourceError
from edge_agent.host.clock import Clock
from edge_agent.state import State

EFF, RTR, ERR = 1 << 31, 1 << 30, 1 << 29
DONGLE = DongleSection("can0")
# Frames that overflow the receive buffer: it holds some 21,000.
OVERFLOWING = 60_000
# What the kernel counts for a frame in a receive buffer.
BYTES_PER_FRAME = 770
FULL_BUS_FRAMES_PER_SECOND = 8_000
SO_RCVBUFFORCE = 33


def classic(can_id: int, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("=IB3x8s", can_id, len(data) if length is None else length, data)


def fd(can_id: int, data: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IBB2x64s", can_id, len(data), flags, data)


class Pair:
    """A source on one end of a pair of sockets; `peer` is the other end, the bus."""

    def __init__(self, ours: socket.socket, peer: socket.socket) -> None:
        self.peer = peer
        self.source = SocketCanBus(DONGLE, open_socket=lambda _: ours)

    def close(self) -> None:
        self.source.close()
        self.peer.close()


@pytest.fixture
def local() -> Iterator[Pair]:
    pair = Pair(*socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
    yield pair
    pair.close()


def udp_pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for one in pair:
        one.bind(("127.0.0.1", 0))
    pair[0].connect(pair[1].getsockname())
    pair[1].connect(pair[0].getsockname())
    return pair


@pytest.fixture
def udp() -> Iterator[Pair]:
    pair = Pair(*udp_pair())
    yield pair
    pair.close()


class Unprivileged(socket.socket):
    """One that must keep its receive buffer within net.core.rmem_max."""

    def setsockopt(self, level: int, name: int, value: int) -> None:  # type: ignore[override]  # one of three
        if (level, name) == (socket.SOL_SOCKET, SO_RCVBUFFORCE):
            raise PermissionError
        super().setsockopt(level, name, value)


def frames_of(items: list[Item]) -> FrameBatch:
    return concatenate([item for item in items if isinstance(item, FrameBatch)])


def test_it_is_left_alone_only_as_long_as_its_receive_buffer_holds_a_full_bus() -> None:
    small = Unprivileged(socket.AF_INET, socket.SOCK_DGRAM)
    source = SocketCanBus(DONGLE, open_socket=lambda _: small)
    held_frames = small.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // BYTES_PER_FRAME
    assert source.patience_seconds <= held_frames / FULL_BUS_FRAMES_PER_SECOND
    source.close()


def test_every_kind_of_frame_comes_through_with_the_kernels_timestamps(local: Pair) -> None:
    before_ns = Clock().wall_ns()
    for record in (
        classic(0x7E8, b"\x01\x02\x03"),
        classic(0x18DAF110 | EFF, bytes(range(8))),
        classic(0x100 | RTR, b"", 5),
        classic(0x88 | ERR, bytes(8)),
        fd(0x1, bytes(range(12)), 3),
        classic(0x2, b"\xff"),
    ):
        local.peer.send(record)
    (batch,) = local.source.read(1.0)
    assert isinstance(batch, FrameBatch)
    assert batch.arbitration_id.tolist() == [0x7E8, 0x18DAF110, 0x100, 0x88, 0x1, 0x2]
    assert batch.flags.tolist() == [
        0, FrameFlag.EXTENDED, FrameFlag.REMOTE, FrameFlag.ERROR,
        FrameFlag.FD | FrameFlag.BRS | FrameFlag.ESI, 0,
    ]  # fmt: skip
    assert batch.length.tolist() == [3, 8, 5, 8, 12, 1]
    assert batch.data[0, :4].tolist() == [1, 2, 3, 0]
    assert batch.data[4, :13].tolist() == [*range(12), 0]
    assert before_ns <= batch.timestamp_ns[0] <= batch.timestamp_ns[-1] <= Clock().wall_ns()
    assert local.source.malformed == 0


def test_a_read_takes_all_that_is_there_and_an_idle_bus_gives_nothing(local: Pair) -> None:
    local.peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    local.peer.setblocking(False)
    sent = 0
    while sent < 600:
        try:
            local.peer.send(classic(sent, b""))
        except BlockingIOError:
            break
        sent += 1
    assert sent > 100
    assert frames_of(local.source.read(1.0)).arbitration_id.tolist() == list(range(sent))
    assert local.source.read(0.01) == []


def test_the_first_frame_after_silence_is_not_waited_for_longer_than_it_takes(local: Pair) -> None:
    patience_seconds = 60.0
    began = time.monotonic()
    sender = threading.Timer(0.05, local.peer.send, [classic(5, b"")])
    sender.start()
    assert frames_of(local.source.read(patience_seconds)).arbitration_id.tolist() == [5]
    assert time.monotonic() - began < patience_seconds / 2
    sender.join()


def test_impossible_frames_are_counted_and_the_others_kept(local: Pair) -> None:
    for record in (b"", b"short", classic(1, b"", 16), fd(2, bytes(9)), bytes(2060), classic(3, b"")):
        local.peer.send(record)
    assert frames_of(local.source.read(1.0)).arbitration_id.tolist() == [3]
    assert local.source.malformed == 5


def send_numbered(peer: socket.socket, first: int, count: int = 1) -> None:
    for number in range(first, first + count):
        peer.send(classic(number | EFF, b""))


def assert_accounted(items: list[Item], frames: int) -> None:
    """Numbered frames from 0 on are all there, or in a count that stands where they are missing."""
    number, last_ns = 0, 0
    for item in items:
        if isinstance(item, Dropped):
            number += item.frames or 0
            assert last_ns <= item.first_ns <= item.last_ns
        else:
            assert item.arbitration_id.tolist() == list(range(number, number + len(item)))
            number += len(item)
            last_ns = int(item.timestamp_ns[-1])
    assert number == frames


def test_what_the_kernel_drops_is_counted_where_it_is_missing(udp: Pair) -> None:
    items: list[Item] = []
    for first in (0, OVERFLOWING):
        send_numbered(udp.peer, first, OVERFLOWING)
        while read := udp.source.read(0.01):
            items += read
    send_numbered(udp.peer, 2 * OVERFLOWING)
    items += udp.source.read(1.0)
    assert_accounted(items, 2 * OVERFLOWING + 1)
    assert sum(isinstance(item, Dropped) for item in items) >= 2


def test_a_loss_behind_the_last_frame_is_told_though_no_frame_follows(udp: Pair) -> None:
    send_numbered(udp.peer, 0, OVERFLOWING)
    items: list[Item] = []
    while read := udp.source.read(0.01):
        items += read
    assert_accounted(items, OVERFLOWING)
    assert isinstance(items[-1], Dropped)


async def test_the_reader_counts_what_the_kernel_dropped() -> None:
    ours, peer = udp_pair()
    opened = SocketCanBus(DONGLE, open_socket=lambda _: ours)
    send_numbered(peer, 0, OVERFLOWING)
    states: list[State] = []
    reader = SourceReader("van7-can0", lambda: opened, states.append, ReaderLimits(beat_seconds=0.001))
    reader.start()
    items, sent = await reader.read(), OVERFLOWING
    while sent == OVERFLOWING or int(frames_of(items).arbitration_id[-1]) != sent - 1:
        send_numbered(peer, sent)
        sent += 1
        items += await reader.read()
    await reader.stop()
    peer.close()
    assert_accounted(items, sent)
    dropped = sum(item.frames or 0 for item in items if isinstance(item, Dropped))
    assert reader.counts.lost == {"driver": 0, "kernel": dropped, "queue": 0}
    assert reader.counts.read + dropped == sent
    assert dropped > 0
    assert states[1].message.startswith("reading socketcan can0")


def test_what_came_before_an_error_is_handed_over_first(udp: Pair) -> None:
    udp.peer.send(classic(1, b""))
    udp.peer.close()
    udp.source._socket.send(b"nobody is there")
    assert frames_of(udp.source.read(1.0)).arbitration_id.tolist() == [1]
    with pytest.raises(SourceError) as caught:
        udp.source.read(1.0)
    assert caught.value.code == "READ_FAILED"
    assert os.strerror(errno.ECONNREFUSED) in caught.value.reason


@pytest.mark.parametrize(
    ("number", "code", "remedy"),
    [
        (errno.ENODEV, "NO_DEVICE", "plug it in"),
        (errno.ENETDOWN, "DOWN", "sudo ip link set can0 up type can bitrate 500000"),
        (errno.EAFNOSUPPORT, "NO_SOCKETCAN", "modprobe can_raw"),
        (errno.EPERM, "NO_PERMISSION", "AF_CAN"),
        (errno.ENOBUFS, "CANNOT_OPEN", "check"),
    ],
)
def test_what_cannot_be_opened_is_told_with_its_remedy(number: int, code: str, remedy: str) -> None:
    def refuse(_: DongleSection) -> socket.socket:
        raise OSError(number, os.strerror(number))

    with pytest.raises(SourceError) as caught:
        SocketCanBus(DONGLE, open_socket=refuse)
    assert caught.value.code == code
    assert remedy in caught.value.remedy


def test_options_that_would_have_no_effect_are_refused() -> None:
    with pytest.raises(SourceError) as caught:
        open_can_socket(DongleSection("can0", options={"ignore_rx_error_frames": True}))
    assert caught.value.code == "BAD_OPTION"


def test_the_kernel_filters_only_where_nothing_needs_all_frames() -> None:
    wanted = [FrameFilter("0x7E8", "0x7F8"), FrameFilter("0x18DAF110")]
    packed = struct.pack("=IIII", 0x7E8, 0x7F8 | EFF, 0x18DAF110 | EFF, 0x1FFFFFFF | EFF)
    assert kernel_filters(DongleSection("can0", frame_filters=wanted)) == packed
    assert kernel_filters(DongleSection("can0")) == b""
    assert kernel_filters(DongleSection("can0", mode="normal", frame_filters=wanted)) == b""
    assert kernel_filters(DongleSection("can0", databases=["a.dbc"], frame_filters=wanted)) == b""


def test_how_old_frames_are_is_known_from_when_the_buffer_was_last_empty(local: Pair) -> None:
    clock = Clock()
    assert local.source.read(0.0) == []
    empty_ns = clock.boottime_ns()
    local.peer.send(classic(1, b""))
    on_bus_ns = clock.boottime_ns()
    local.peer.send(classic(2, b""))
    assert len(frames_of(local.source.read(1.0))) == 2
    assert local.source.born_ns <= on_bus_ns
    assert on_bus_ns - local.source.born_ns < empty_ns, "not unknown"
    before_ns = local.source.born_ns
    between_ns = clock.boottime_ns()
    local.peer.send(classic(3, b""))
    assert len(frames_of(local.source.read(1.0))) == 1
    assert before_ns < local.source.born_ns <= between_ns


def test_a_read_that_waits_proves_that_nothing_was_there_when_it_began(local: Pair) -> None:
    clock = Clock()
    sender = threading.Timer(0.1, local.peer.send, (classic(1, b""),))
    began_ns = clock.boottime_ns()
    sender.start()
    assert len(frames_of(local.source.read(20.0))) == 1
    sender.join()
    assert began_ns <= local.source.born_ns < clock.boottime_ns() - 50_000_000


def test_before_the_buffer_was_ever_empty_the_age_is_unknown(local: Pair) -> None:
    local.peer.send(classic(1, b""))
    assert len(frames_of(local.source.read(1.0))) == 1
    assert local.source.born_ns == 0


def test_a_buffer_that_fills_as_it_is_read_is_read_until_it_is_empty(udp: Pair) -> None:
    assert udp.source.read(0.0) == []
    send_numbered(udp.peer, 0, 6_000)  # more than are read in one go
    time.sleep(0.15)
    assert len(frames_of(udp.source.read(1.0))) == 6_000
    sent_ns = Clock().boottime_ns()
    udp.peer.send(classic(1, b""))
    udp.source.read(1.0)
    assert sent_ns - 10_000_000_000 < udp.source.born_ns <= sent_ns


def test_every_frame_is_given_once_the_kernel_filters_no_more(mocker: MockerFixture) -> None:
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    source = SocketCanBus(DONGLE, open_socket=lambda _: ours)
    setsockopt = mocker.Mock()
    source._socket = mocker.Mock(wraps=ours, setsockopt=setsockopt)
    source.give_everything()
    level, option, filters = setsockopt.call_args.args
    assert (level, option, filters) == (socket.SOL_CAN_RAW, 1, bytes(8)), "one that all fit"
    setsockopt.side_effect = OSError(errno.ENODEV, "gone")
    with pytest.raises(SourceError):
        source.give_everything()
    source.close()
    peer.close()
