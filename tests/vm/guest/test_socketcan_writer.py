"""Writing to the kernel's buses: what only AF_CAN can show, echoes and who sees what, full queues, losses.

vcan gives back what is sent itself only where its module was told so; both are tried here.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of, concatenate
from edge_agent.bus.opening import open_source
from edge_agent.bus.socketcan import SocketCanBus
from edge_agent.config.dongle import DongleSection
from edge_agent.config.transmit import RelaySection
from edge_agent.errors import SourceError
from edge_agent.host.can_link import read_can_link, read_waiting_frames
from edge_agent.relay.burst import frame_keys
from edge_agent.relay.record import RECORD_BYTES, OpenBurst, Record
from edge_agent.relay.sink import Sink, SinkLimits
from edge_agent.transmit.policy import RelayPolicy
from edge_agent.transmit.socketcan_writer import SocketCanWriter
from tests.helpers.conditions import eventually
from tests.vm.can_utils import EVERY_KIND, Candump, reload_vcan, send, set_link
from tests.vm.kernel_slcan import KernelSlcan

BUS = "vcan1"
# As `EVERY_KIND` has them, but the error frame, and one with a raw length code.
FRAMES = batch_of(
    [
        (0, 0x123, 0, 4, bytes.fromhex("DEADBEEF")),
        (0, 0x1F334455, FrameFlag.EXTENDED, 8, bytes.fromhex("1122334455667788")),
        (0, 0x7E8, FrameFlag.REMOTE, 4, b""),
        (0, 0x213, FrameFlag.FD | FrameFlag.BRS | FrameFlag.ESI, 64, b"\x11" * 64),
        (0, 0x7FF, 0, 0, b""),
        (0, 0x7FE, 0, 13, bytes(8)),
    ]
)


@pytest.fixture
def own_link() -> Iterator[str]:
    """An interface of its own, which a test may change and take away."""
    name = "vcan8"
    subprocess.run(["ip", "link", "add", name, "type", "vcan"], check=True)
    subprocess.run(["ip", "link", "set", name, "mtu", "72", "up"], check=True)
    yield name
    subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


@pytest.fixture
def echoing_link() -> Iterator[str]:
    """A vcan that gives back itself what is sent: the module is loaded anew, with all its buses."""
    reload_vcan("echo=1")
    yield BUS
    reload_vcan()


def opened(channel: str, *, fd: bool = True) -> tuple[SocketCanBus, SocketCanWriter]:
    source = open_source(DongleSection(channel, mode="normal", fd=fd))
    assert isinstance(source, SocketCanBus)
    assert source.writer is not None
    return source, source.writer


def read(source: SocketCanBus, count: int) -> FrameBatch:
    batches: list[FrameBatch] = []
    while sum(map(len, batches)) < count:
        items = source.read(10.0)
        assert items, f"{count} frames"
        batches += [item for item in items if isinstance(item, FrameBatch)]
    return concatenate(batches)


def assert_back(frames: FrameBatch, written: FrameBatch) -> None:
    """These are the echoes of what was written, in order."""
    flags = frames.flags & ~np.uint8(FrameFlag.TX)
    assert (frames.flags & FrameFlag.TX).all()
    back = FrameBatch(written.timestamp_ns, frames.arbitration_id, flags, frames.length, frames.data)
    assert back.equals(written)


def proven(source: SocketCanBus, writer: SocketCanWriter) -> None:
    """One frame has come back: from here on the counters tell."""
    assert writer.write(FRAMES[:1]) == 1
    read(source, 1)

    def known() -> bool:
        source.read(0.001)
        return writer.can_empty_queue == "counters"

    eventually(known, "the counters tell what is inside")


def check_write_and_echo(channel: str, confirms: str, can_empty_queue: str) -> SocketCanWriter:
    """All frames are written: candump beside it sees each once and in order, and each comes back as sent."""
    source, writer = opened(channel)
    assert (writer.confirms, writer.can_empty_queue) == (confirms, can_empty_queue)
    with Candump(channel, len(FRAMES) + 1) as witness:
        assert writer.write(FRAMES) == len(FRAMES)
        assert_back(read(source, len(FRAMES)), FRAMES)
        send(channel, "001#")
        assert read(source, 1).flags.tolist() == [0]
        seen = [line.split(" ", 2)[2] for line in witness.lines()]
        # candump shows no raw length codes here; that they went along is known from what came back.
        assert seen == [*EVERY_KIND[:5], "7FE#0000000000000000", "001#"]
    assert source.read(0.01) == []
    source.close()
    return writer


def test_without_the_flag_echo_the_kernel_gives_back_what_it_has_queued() -> None:
    writer = check_write_and_echo(BUS, "queue", "probe")
    assert writer.is_empty() is None


def test_with_the_flag_echo_the_driver_gives_back_what_it_has_sent(echoing_link: str) -> None:
    check_write_and_echo(echoing_link, "bus", "probe")


def test_an_echoing_interface_is_known_to_be_empty_by_its_counters(echoing_link: str) -> None:
    source, writer = opened(echoing_link)
    assert (writer.is_empty(), writer.can_empty_queue) == (None, "probe"), "what is inside nobody knows"
    proven(source, writer)
    for _ in range(3):
        assert writer.write(FRAMES) == len(FRAMES)
        assert eventually(writer.is_empty, "nothing waits in the driver")
    read(source, 3 * len(FRAMES))
    source.close()
    again, writer = opened(echoing_link)
    again.follows(source)
    assert eventually(writer.is_empty, "as it was")
    send(echoing_link, "001#")
    assert writer.is_empty() is None, "more has been sent than was written"
    again.close()
    source, writer = opened(echoing_link)
    proven(source, writer)
    send(echoing_link, "001#")
    read(source, 1)
    assert writer.write(FRAMES[:1]) == 1
    read(source, 1)
    assert (writer.is_empty(), writer.can_empty_queue) == (None, "probe"), "another program sends there"
    source.close()


def test_frames_that_wait_are_seen_and_those_that_the_queue_does_not_take_are_not_taken(
    echoing_link: str,
) -> None:
    queue = ["netem", "delay", "500ms", "limit", "10"]
    source, writer = opened(echoing_link, fd=False)
    proven(source, writer)
    subprocess.run(["tc", "qdisc", "add", "dev", echoing_link, "root", *queue], check=True)
    link = read_can_link(echoing_link)
    assert link is not None
    batch = batch_of([(0, number, 0, 8, bytes(8)) for number in range(60)])
    taken = writer.write(batch)
    assert 0 < taken < len(batch)
    assert writer.write(batch[taken:]) == 0
    assert read_waiting_frames(link.index) > 0
    assert writer.is_empty() is False
    back = read(source, taken)
    assert_back(back, batch[:taken])
    assert eventually(writer.is_empty, "all has left")
    assert read_waiting_frames(link.index) == 0
    assert writer.write(batch[taken : taken + 2]) == 2
    assert_back(read(source, 2), batch[taken : taken + 2])
    source.close()


def test_the_kernels_slcan_confirms_by_its_queue() -> None:
    with KernelSlcan() as adapter:
        adapter.set_up("bitrate", "500000")
        source, writer = opened(adapter.name, fd=False)
        assert (writer.confirms, writer.can_empty_queue) == ("queue", "probe")
        classic = FRAMES[(FRAMES.flags & FrameFlag.FD) == 0][:4]
        written: list[FrameBatch] = []
        for row in range(len(classic)):  # its queue takes one at a time
            one = classic[row : row + 1]
            eventually(partial(writer.write, one), "the driver takes it")
            written.append(read(source, 1))
        assert_back(concatenate(written), classic)
        expected = [b"t1234DEADBEEF\r", b"T1F33445581122334455667788\r", b"r7E84\r", b"t7FF0\r"]
        eventually(lambda: adapter.commands.endswith(b"".join(expected)), "the adapter was told")
        assert writer.is_empty() is None
        source.close()


def test_an_interface_that_goes_down_is_said_to_the_writer_and_to_the_reader(own_link: str) -> None:
    source, writer = opened(own_link)
    assert writer.write(FRAMES[:1]) == 1
    read(source, 1)
    set_link(own_link, "down")
    with pytest.raises(SourceError) as caught:
        writer.write(FRAMES[:1])
    assert caught.value.code == "DOWN"
    with pytest.raises(SourceError) as told:
        source.read(10.0)
    assert told.value.code == "DOWN"
    source.close()
    set_link(own_link, "up")
    again, other = opened(own_link)
    with pytest.raises(SourceError):
        writer.write(FRAMES[:1])
    assert other.write(FRAMES[1:2]) == 1
    assert_back(read(again, 1), FRAMES[1:2])
    again.close()


def test_an_interface_that_vanishes_is_said_to_the_writer(own_link: str) -> None:
    source, writer = opened(own_link)
    subprocess.run(["ip", "link", "del", own_link], check=True)
    codes = set()
    for _ in range(2):
        with pytest.raises(SourceError) as caught:
            writer.write(FRAMES[:1])
        codes.add(caught.value.code)
    assert codes <= {"DOWN", "NO_DEVICE"}
    with pytest.raises(SourceError):
        source.read(10.0)
    source.close()


def test_a_frame_that_is_too_long_for_the_interface_fails_and_is_no_frame_of_another_kind(
    own_link: str,
) -> None:
    source, writer = opened(own_link, fd=False)
    with pytest.raises(SourceError) as caught:
        writer.write(FRAMES)
    assert caught.value.code == "CANNOT_SEND"
    assert writer.write(FRAMES[:1]) == 1
    assert_back(read(source, 1), FRAMES[:1])
    source.close()


def test_what_is_written_while_the_bus_is_full_of_others_is_there_once_and_in_order() -> None:
    source, writer = opened(BUS)
    written = 0
    with subprocess.Popen(["cangen", BUS, "-g", "0.2", "-I", "7FF", "-n", "2000"]) as others:
        back: list[FrameBatch] = []
        while others.poll() is None or written < 500:
            if written < 500:
                batch = batch_of([(0, 0x100 + written % 256, 0, 2, written.to_bytes(2, "big"))])
                written += writer.write(batch)
            back += [item for item in source.read(0.0) if isinstance(item, FrameBatch)]
            time.sleep(0)
    back += [item for item in source.read(0.1) if isinstance(item, FrameBatch)]
    frames = concatenate(back)
    own = frames[(frames.flags & FrameFlag.TX) != 0]
    assert [int.from_bytes(data[:2], "big") for data in own.data] == list(range(500))
    assert len(frames) - len(own) == 2000
    source.close()


def test_what_a_closed_socket_has_left_comes_out_as_if_it_were_others_and_is_known_by_the_record(
    echoing_link: str,
) -> None:
    """As after a kill: the kernel closes the socket, and the queue goes on."""
    memory = bytearray(RECORD_BYTES)
    batch = batch_of([(0, 0x100 + number, 0, 1, bytes([number])) for number in range(4)])
    Record(memory, "boot", "a" * 32, 1_000).open(
        OpenBurst("van-can0", "00" * 8, 0, 4, 4, {}, frame_keys(batch))
    )
    source, writer = opened(echoing_link, fd=False)
    queue = ["netem", "delay", "500ms", "limit", "10"]
    subprocess.run(["tc", "qdisc", "add", "dev", echoing_link, "root", *queue], check=True)
    assert writer.write(batch) == 4
    source.close()
    after, _ = opened(echoing_link, fd=False)
    send(echoing_link, "123#DEADBEEF")
    back = read(after, 5)
    assert not (back.flags & FrameFlag.TX).any()  # nothing in them says whose they are
    record = Record(memory, "boot", "b" * 32, 2_000)
    sink = Sink("van-can1", record, RelayPolicy(RelaySection()), SinkLimits(2.0), 2_000)
    known = sink.driver.late.marked(back, 3_000)
    own = (known.flags & FrameFlag.TX) != 0
    assert_back(known[own], batch)
    assert known.arbitration_id[~own].tolist() == [0x123]
    assert not Record(memory, "boot", "c" * 32, 4_000).left
    after.close()
