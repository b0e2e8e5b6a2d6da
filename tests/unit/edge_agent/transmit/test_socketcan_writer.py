"""Frames written to sockets that stand in for CAN ones are what the source at the other end reads.

What only AF_CAN itself can show, echoes and full queues, is in tests/vm/guest/test_socketcan_writer.py.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of, concatenate
from edge_agent.bus.socketcan import SocketCanBus
from edge_agent.config.dongle import DongleSection
from edge_agent.errors import LinkError, SourceError
from edge_agent.host.can_link import CanLink
from edge_agent.transmit import socketcan_writer
from edge_agent.transmit.socketcan_writer import SocketCanWriter
from edge_agent.transmit.writer import MAX_FRAMES
from tests.helpers.can_links import IFF_LOWER_UP, IFF_UP, controller_link, virtual_link

Mode = Literal["normal", "listen_only"]
IFF_ECHO = 1 << 18
DONGLE = DongleSection("can0", mode="normal")
FRAMES = batch_of(
    [
        (0, 0x7E8, 0, 3, b"\x01\x02\x03"),
        (0, 0x18DAF110, FrameFlag.EXTENDED, 8, bytes(range(8))),
        (0, 0x100, FrameFlag.REMOTE, 5, b""),
        (0, 0x101, 0, 13, bytes(8)),
        (0, 1, FrameFlag.FD | FrameFlag.BRS | FrameFlag.ESI, 12, bytes(range(12))),
    ]
)


def numbered(count: int, first: int = 0) -> FrameBatch:
    return batch_of([(0, number, 0, 1, bytes([number % 256])) for number in range(first, first + count)])


class Pair:
    """A writer, and a source at the other end of its socket."""

    def __init__(self, *, fd: bool = True, link: CanLink | None = None) -> None:
        self.seconds = 0.0
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.peer = SocketCanBus(DongleSection("can1", fd=fd), open_socket=lambda _: theirs)
        self.writer = SocketCanWriter(
            self.ours, "can0", fd=fd, link=link, monotonic_seconds=lambda: self.seconds
        )

    def prove(self) -> None:
        """One frame is written and comes back: what was inside before it has come out too."""
        assert self.writer.write(numbered(1)) == 1
        self.arrived(1)
        self.writer.prove()
        self.writer.echoed(1)
        self.writer.prove()
        assert self.writer.can_empty_queue == "probe", "it may not be counted yet"
        self.seconds += 0.01
        self.writer.prove()

    def is_empty(self) -> bool | None:
        """What the writer says when it was asked for long enough."""
        first = self.writer.is_empty()
        assert not first
        self.seconds += 0.125
        return self.writer.is_empty()

    def arrived(self, count: int) -> FrameBatch:
        batches: list[FrameBatch] = []
        while sum(map(len, batches)) < count:
            items = self.peer.read(5.0)
            assert items, "nothing more arrives"
            batches += [item for item in items if isinstance(item, FrameBatch)]
        assert self.peer.read(0.0) == []
        return concatenate(batches)

    def close(self) -> None:
        self.writer.close()
        self.peer.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    one = Pair()
    yield one
    one.close()


def echoing(tx_packets: int = 0, tx_dropped: int = 0, **changes: Any) -> CanLink:
    counters = {"tx_packets": tx_packets, "tx_dropped": tx_dropped}
    return virtual_link(counters, flags=IFF_UP | IFF_LOWER_UP | IFF_ECHO, **changes)


def test_every_kind_of_frame_is_written_as_it_is(pair: Pair) -> None:
    assert pair.writer.write(FRAMES) == len(FRAMES)
    assert without_times(pair.arrived(len(FRAMES))).equals(FRAMES)
    assert pair.peer.malformed == 0


def without_times(frames: FrameBatch) -> FrameBatch:
    return FrameBatch(
        frames.timestamp_ns * 0, frames.arbitration_id, frames.flags, frames.length, frames.data
    )


def test_what_a_full_queue_does_not_take_is_not_taken_and_goes_later_in_order(pair: Pair) -> None:
    taken = first = pair.writer.write(numbered(MAX_FRAMES))
    while first:
        first = pair.writer.write(numbered(MAX_FRAMES, taken))
        taken += first
        assert taken < 100_000
    assert taken > 0
    assert pair.arrived(taken).arbitration_id.tolist() == list(range(taken))
    assert pair.writer.write(numbered(3, taken)) == 3
    assert pair.arrived(3).arbitration_id.tolist() == [taken, taken + 1, taken + 2]


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ((0, 0x88, FrameFlag.ERROR, 8, bytes(8)), "error_frame"),
        ((0, 1, FrameFlag.FD, 12, bytes(12)), "unsupported"),
        ((0, 0x800, 0, 0, b""), "unsupported"),
        ((0, 1, 0, 16, bytes(8)), "unsupported"),
        ((0, 0x4000_0001, FrameFlag.EXTENDED, 0, b""), "unsupported"),
    ],
)
def test_nothing_of_what_a_bus_cannot_carry_is_written(
    row: tuple[int, int, int, int, bytes], word: str
) -> None:
    classic = Pair(fd=False)
    with pytest.raises(SourceError) as caught:
        classic.writer.write(concatenate([numbered(1), batch_of([row])]))
    assert caught.value.code == "CANNOT_SEND"
    assert f"({word})" in caught.value.reason
    assert classic.writer.write(numbered(1, 7)) == 1
    assert classic.arrived(1).arbitration_id.tolist() == [7]
    classic.close()


def test_a_socket_that_was_closed_is_not_written_to_though_its_number_is_in_use_again(pair: Pair) -> None:
    number = pair.ours.fileno()
    pair.writer.close()
    strangers = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    assert number in {one.fileno() for one in strangers}
    with pytest.raises(SourceError) as caught:
        pair.writer.write(numbered(1))
    assert caught.value.code == "CLOSED"
    for one in strangers:
        one.setblocking(False)
        with pytest.raises(BlockingIOError):
            one.recv(16)
    for one in strangers:
        one.close()


def write_for_ever(writer: SocketCanWriter, begun: threading.Event, ended: list[str]) -> None:
    try:
        while True:
            writer.write(numbered(1))
            begun.set()
    except SourceError as error:
        ended.append(error.code)


def test_closing_waits_until_nobody_writes_and_then_nothing_is_written() -> None:
    for _ in range(50):
        pair = Pair()
        begun, ended = threading.Event(), list[str]()
        thread = threading.Thread(target=write_for_ever, args=[pair.writer, begun, ended])
        thread.start()
        begun.wait()
        pair.writer.close()
        thread.join()
        assert ended == ["CLOSED"]
        pair.close()


def test_what_the_writer_is_told_of_its_device_the_source_says_too() -> None:
    ours, peer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for one in (ours, peer):
        one.bind(("127.0.0.1", 0))
    ours.connect(peer.getsockname())
    source = SocketCanBus(DONGLE, open_socket=lambda _: ours)
    writer = source.writer
    assert writer is not None
    peer.close()
    writer.write(numbered(1))
    with pytest.raises(SourceError) as caught:  # what has come of the first
        writer.write(numbered(1))
    assert caught.value.code == "WRITE_FAILED"
    assert os.strerror(errno.ECONNREFUSED) in caught.value.reason
    with pytest.raises(SourceError) as told:
        source.read(5.0)
    assert (told.value.code, told.value.fault) == ("READ_FAILED", "unplugged")
    source.close()


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENETDOWN, "DOWN"), (errno.ENODEV, "NO_DEVICE"), (errno.ENXIO, "NO_DEVICE")],
)
def test_a_device_that_is_gone_is_said_as_by_reading(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def fail(*_: object) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(socketcan_writer, "_sendmmsg", fail)
    with pytest.raises(SourceError) as caught:
        pair.writer.write(numbered(1))
    assert (caught.value.code, pair.writer.failed_by) == (code, number)


def the(opened: socket.socket, _: DongleSection) -> socket.socket:
    return opened


def test_only_a_dongle_in_normal_mode_is_written_to() -> None:
    modes: tuple[Mode, ...] = ("normal", "listen_only")
    for mode in modes:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        source = SocketCanBus(DongleSection("can0", mode=mode), open_socket=partial(the, ours))
        assert (source.writer is not None) == (mode == "normal")
        source.close()
        theirs.close()


# -- what confirms, and whether the queue is empty


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the kernel says of the interface and of its queue; an exception is raised."""
    says: dict[str, Any] = {"link": echoing(), "waiting": 0}

    def said(name: str) -> Any:
        if isinstance(says[name], Exception):
            raise says[name]
        return says[name]

    monkeypatch.setattr(socketcan_writer, "read_can_link", lambda _: said("link"))
    monkeypatch.setattr(socketcan_writer, "read_waiting_frames", lambda _: said("waiting"))
    return says


def test_an_interface_that_echoes_confirms_by_the_bus_and_any_other_by_its_queue(pair: Pair) -> None:
    """What a controller was given before the socket was opened, no counter of the interface knows."""
    for link, confirms, can_empty in (
        (echoing(), "bus", "probe"),
        (virtual_link(), "queue", "probe"),
        (None, "queue", "probe"),
    ):
        writer = SocketCanWriter(pair.ours, "can0", fd=False, link=link)
        assert (writer.confirms, writer.can_empty_queue) == (confirms, can_empty)


def test_the_queue_is_empty_once_as_many_have_left_as_were_written(kernel: dict[str, Any]) -> None:
    pair = Pair(link=echoing(tx_packets=90, tx_dropped=3))
    kernel["link"] = echoing(100, 3)
    assert pair.is_empty() is None, "nobody knows what was inside when the socket was opened"
    pair.prove()
    assert pair.is_empty() is True
    for taken, left in ((4, (104, 3)), (8, (106, 5))):
        assert pair.writer.write(numbered(4)) == 4
        assert pair.is_empty() is False, "its memory is still held"
        pair.arrived(4)
        for sent, dropped in ((100, 3), (left[0] - 1, left[1])):
            kernel["link"] = echoing(sent, dropped)
            assert pair.is_empty() is False
        kernel["link"] = echoing(*left)
        assert sum(left) == 103 + taken
        assert pair.is_empty() is True
    kernel["waiting"] = 1
    assert pair.writer.is_empty() is False, "somebody's frames wait"
    pair.close()
    assert pair.writer.is_empty() is None


@pytest.mark.parametrize(
    ("link", "waiting"),
    [
        (echoing(5), 0),  # another program sends there
        (echoing(4, index=9), 0),  # another interface has its name
        (None, 0),
        (LinkError("the kernel does not tell"), 0),
        (echoing(4), LinkError("the kernel does not tell")),
    ],
)
def test_where_the_counters_prove_nothing_nobody_says_that_it_is_empty(
    kernel: dict[str, Any], link: object, waiting: object
) -> None:
    pair = Pair(link=echoing())
    pair.prove()
    pair.writer.write(numbered(4))
    pair.arrived(4)
    kernel.update(link=echoing(4))
    assert pair.is_empty() is True
    kernel.update(link=link, waiting=waiting)
    assert pair.writer.is_empty() is None
    pair.close()


def test_a_bus_off_empties_queues_unseen(kernel: dict[str, Any]) -> None:
    for statistics in ((0, 0, 0, 1, 0, 0), (0, 0, 0, 0, 0, 1)):
        pair = Pair(link=echoing())
        kernel["link"] = controller_link()
        pair.prove()
        assert pair.is_empty() is True
        kernel["link"] = controller_link(statistics=statistics)
        assert pair.writer.is_empty() is None
        kernel["link"] = controller_link()
        assert pair.is_empty() is None, "nor later"
        assert pair.writer.can_empty_queue == "probe"
        pair.close()


def test_beside_another_program_the_counters_prove_nothing(kernel: dict[str, Any]) -> None:
    pair = Pair(link=echoing())
    kernel["link"] = echoing()
    pair.prove()
    assert pair.is_empty() is True
    pair.writer.has_neighbours = True
    assert (pair.is_empty(), pair.writer.can_empty_queue) == (None, "probe")
    pair.close()


def test_without_echo_the_counters_say_only_what_was_handed_on(kernel: dict[str, Any]) -> None:
    pair = Pair(link=virtual_link())
    kernel["link"] = virtual_link()
    assert pair.writer.is_empty() is None
    pair.close()


def opened_again(kernel: dict[str, Any], before: Pair) -> Pair:
    before.close()
    pair = Pair(link=kernel["link"])
    pair.writer.follows(before.writer)
    return pair


def test_a_frame_that_is_stuck_is_not_taken_for_gone_when_the_socket_is_opened_again(
    kernel: dict[str, Any],
) -> None:
    first = Pair(link=echoing())
    first.prove()
    first.writer.write(numbered(1))
    first.arrived(1)
    second = opened_again(kernel, first)
    assert second.is_empty() is False, "the one of before is still in the controller"
    kernel["link"] = echoing(1)
    assert second.is_empty() is True
    second.close()


@pytest.mark.parametrize("left", [0, 1])
def test_what_was_not_known_of_one_socket_is_not_known_of_the_next(kernel: dict[str, Any], left: int) -> None:
    first = Pair(link=echoing())
    first.writer.write(numbered(left))
    second = opened_again(kernel, first)
    assert (second.is_empty(), second.writer.can_empty_queue) == (None, "probe")
    second.writer.write(numbered(1))
    kernel["link"] = echoing(1)
    assert second.is_empty() is None, "that may be the one of before"
    second.close()


@pytest.mark.parametrize("failed_by", [errno.ENETDOWN, errno.ENODEV, errno.ENXIO, errno.EIO])
def test_an_interface_that_went_down_has_thrown_away_what_it_had(
    kernel: dict[str, Any], failed_by: int
) -> None:
    first = Pair(link=echoing())
    first.writer.write(numbered(3))
    first.writer.failed_by = failed_by
    second = opened_again(kernel, first)
    assert second.is_empty() is (None if failed_by == errno.EIO else True)
    second.close()


def test_another_interface_of_the_name_has_never_had_it(kernel: dict[str, Any]) -> None:
    first = Pair(link=echoing())
    first.prove()
    first.writer.write(numbered(3))
    kernel["link"] = echoing(index=9)
    second = opened_again(kernel, first)
    assert second.is_empty() is True
    second.close()


def test_nothing_is_proven_while_something_waits_or_the_kernel_does_not_tell(kernel: dict[str, Any]) -> None:
    for says in ({"waiting": 1}, {"link": None}, {"link": LinkError("no")}, {"waiting": LinkError("no")}):
        pair = Pair(link=echoing())
        kernel.update({"link": echoing(), "waiting": 0} | says)
        pair.prove()
        kernel.update({"link": echoing(), "waiting": 0})
        assert pair.is_empty() is None
        pair.writer.prove()
        assert pair.is_empty() is True
        pair.close()
