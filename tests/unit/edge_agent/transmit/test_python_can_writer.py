"""Frames written to buses of python-can get to others, and come back as own ones and as nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import can
import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of, concatenate, empty_batch
from edge_agent.bus.python_can_bus import PythonCanBus, row_of
from edge_agent.config.dongle import DongleSection
from edge_agent.errors import SourceError
from edge_agent.transmit.python_can_writer import PythonCanWriter
from tests.helpers.conditions import eventually

FRAMES = batch_of(
    [
        (0, 0x123, 0, 2, b"\xaa\xbb"),
        (0, 0x18DAF110, FrameFlag.EXTENDED, 8, bytes(range(8))),
        (0, 0x7E8, FrameFlag.REMOTE, 4, b""),
        (0, 0x1, FrameFlag.FD | FrameFlag.BRS | FrameFlag.ESI, 12, bytes(range(12))),
    ]
)


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return name


@pytest.fixture
def peer(channel: str) -> Iterator[can.BusABC]:
    with can.Bus(channel, "virtual", ignore_config=True) as bus:
        yield bus


def opened(channel: str, interface: str = "virtual", **changes: Any) -> tuple[PythonCanBus, PythonCanWriter]:
    source = PythonCanBus(DongleSection(channel, interface=interface, mode="normal", **changes))
    assert source.writer is not None
    return source, source.writer


def read(source: PythonCanBus, count: int) -> FrameBatch:
    batches: list[FrameBatch] = []
    for _ in range(1000):
        if sum(map(len, batches)) >= count:
            break
        batches.append(source.read(0.2))
    assert sum(map(len, batches)) == count
    return concatenate(batches)


def received(peer: can.BusABC, count: int) -> FrameBatch:
    rows = []
    for _ in range(count):
        message = peer.recv(10.0)
        assert message is not None
        row = row_of(message)
        assert row is not None
        rows.append((0, *row[1:]))
    assert peer.recv(0.05) is None
    return batch_of(rows)


def test_every_frame_gets_to_others_once_and_comes_back_as_own(peer: can.BusABC, channel: str) -> None:
    source, writer = opened(channel, fd=True)
    assert writer.write(FRAMES) == len(FRAMES)
    assert received(peer, len(FRAMES)).equals(FRAMES)
    peer.send(can.Message(arbitration_id=5, is_extended_id=False))
    back = read(source, len(FRAMES) + 1)
    assert back.arbitration_id.tolist() == [*FRAMES.arbitration_id.tolist(), 5]
    assert back.flags.tolist() == [*(flag | FrameFlag.TX for flag in FRAMES.flags.tolist()), 0]
    assert (writer.confirms, writer.can_empty_queue, writer.is_empty()) == ("queue", "probe", None)
    source.close()


def test_a_length_code_that_python_can_does_not_know_is_sent_as_8(peer: can.BusABC, channel: str) -> None:
    source, writer = opened(channel)
    assert writer.write(batch_of([(0, 1, 0, 13, bytes(range(8)))])) == 1
    assert received(peer, 1).equals(batch_of([(0, 1, 0, 8, bytes(range(8)))]))
    source.close()


def test_only_a_dongle_in_normal_mode_is_written_to(peer: can.BusABC, channel: str) -> None:
    source = PythonCanBus(DongleSection(channel, interface="virtual"))
    assert source.writer is None
    peer.send(can.Message(arbitration_id=5, is_extended_id=False))
    assert read(source, 1).flags.tolist() == [0]
    source.close()


def test_nothing_of_what_a_bus_cannot_carry_is_written(peer: can.BusABC, channel: str) -> None:
    source, writer = opened(channel)
    with pytest.raises(SourceError) as caught:
        writer.write(FRAMES)
    assert caught.value.code == "CANNOT_SEND"
    assert writer.write(FRAMES[:1]) == 1
    assert received(peer, 1).equals(FRAMES[:1])
    source.close()


def test_once_its_source_is_closed_nothing_is_written(peer: can.BusABC, channel: str) -> None:
    source, writer = opened(channel)
    assert writer.write(FRAMES[:1]) == 1
    assert received(peer, 1).equals(FRAMES[:1])
    source.close()
    with pytest.raises(SourceError) as caught:
        writer.write(FRAMES[:1])
    assert caught.value.code == "CLOSED"
    assert peer.recv(0.05) is None


def test_frames_that_come_back_as_if_they_were_others_are_own_ones() -> None:
    pytest.importorskip("msgpack", reason="python-can's udp_multicast needs msgpack (python-can[multicast])")
    group, port = "239.74.163.7", 43_119
    try:
        source, writer = opened(group, "udp_multicast", fd=True, options={"port": port})
    except SourceError as error:
        pytest.skip(f"no multicast here: {error}")
    with can.Bus(group, "udp_multicast", port=port, ignore_config=True) as peer:
        for _ in range(3):
            assert writer.write(FRAMES) == len(FRAMES)
            back = read(source, len(FRAMES))
            assert back.flags.tolist() == [flag | FrameFlag.TX for flag in FRAMES.flags.tolist()]
            assert received(peer, len(FRAMES)).equals(FRAMES)
        peer.send(can.Message(arbitration_id=0x123, is_extended_id=False, data=b"\xaa\xbb"))
        assert read(source, 1).flags.tolist() == [0], "the same, sent by somebody else"
    source.close()


class Driver:
    """A driver that gives nothing back, and takes frames as the test says."""

    def __init__(self) -> None:
        self.sent: list[can.Message] = []
        self.fails = False
        self.hangs = threading.Event()
        self.hangs.set()
        self.entered = threading.Event()

    def send(self, message: can.Message, timeout: float | None = None) -> None:
        assert timeout == 0
        self.entered.set()
        self.hangs.wait()
        if self.fails:
            raise can.CanOperationError("the queue is full")
        self.sent.append(message)


def writer_of(driver: Driver) -> PythonCanWriter:
    return PythonCanWriter(driver, "can0", fd=False, come_back="never")  # type: ignore[arg-type]


def back_of(writer: PythonCanWriter, count: int) -> FrameBatch:
    batches: list[FrameBatch] = []

    def look() -> bool:
        batches.append(writer.marked(empty_batch(), 7))
        return sum(map(len, batches)) >= count

    eventually(look, f"{count} come back")
    return concatenate(batches)


def test_what_a_driver_takes_comes_back_where_it_gives_nothing_back_itself() -> None:
    driver = Driver()
    writer = writer_of(driver)
    assert writer.write(FRAMES[:3]) == 3
    back = back_of(writer, 3)
    assert back.arbitration_id.tolist() == FRAMES.arbitration_id[:3].tolist()
    assert back.timestamp_ns.tolist() == [7, 7, 7]
    assert (back.flags & FrameFlag.TX).all()
    mixed = batch_of([(1, 5, 0, 0, b""), (2, 6, FrameFlag.TX, 0, b"")])
    assert writer.marked(mixed, 7).arbitration_id.tolist() == [5], "it is there once"
    writer.close()


def test_what_a_driver_does_not_take_does_not_come_back_and_the_next_does() -> None:
    driver = Driver()
    writer = writer_of(driver)
    driver.fails = True
    assert writer.write(FRAMES[:1]) == 1
    eventually(lambda: writer.refused == 1, "it is refused")
    driver.fails = False
    assert writer.write(FRAMES[1:2]) == 1
    assert back_of(writer, 1).arbitration_id.tolist() == [0x18DAF110]
    writer.close()


def test_what_waits_behind_a_driver_that_hangs_is_bounded_and_never_sent_late() -> None:
    driver = Driver()
    writer = writer_of(driver)
    driver.hangs.clear()
    assert writer.write(FRAMES[:1]) == 1
    assert driver.entered.wait(10)
    many = batch_of([(0, number, 0, 0, b"") for number in range(20)])
    assert writer.write(many) == 16
    assert writer.write(many) == 0
    waited = threading.Event()
    waited.wait(0.3)  # longer than it may wait
    driver.hangs.set()
    eventually(lambda: writer.refused == 16, "all that waited is too old")
    assert [message.arbitration_id for message in driver.sent] == [0x123]
    assert writer.write(FRAMES[1:2]) == 1
    assert back_of(writer, 2).arbitration_id.tolist() == [0x123, 0x18DAF110]
    writer.close()


def test_what_waited_while_the_machine_slept_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    writer = writer_of(driver)
    driver.hangs.clear()
    assert writer.write(FRAMES[:2]) == 2
    assert driver.entered.wait(10)
    now_seconds = time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(time, "clock_gettime", lambda _: now_seconds + 3600)
    driver.hangs.set()
    eventually(lambda: writer.refused == 1, "what waited is too old")
    assert writer.write(FRAMES[2:3]) == 1
    assert back_of(writer, 2).arbitration_id.tolist() == [0x123, 0x7E8]
    writer.close()
