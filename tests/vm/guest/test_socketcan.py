"""The SocketCAN source on the kernel's buses: what only AF_CAN can show.

`make bench BENCH=receive` records for a minute, at the highest rate that a bare recorder keeps.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.receive import RATES, REQUIRED_RATIO, keep, measure, record_ours
from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate
from edge_agent.bus.opening import open_source
from edge_agent.bus.reader import SourceReader
from edge_agent.bus.socketcan import SocketCanBus
from edge_agent.bus.source import Dropped, Item
from edge_agent.config.dongle import DongleSection
from edge_agent.config.frame_filters import FrameFilter
from edge_agent.errors import SourceError
from edge_agent.host.clock import Clock
from edge_agent.state import State, StatusCode
from tests.vm.can_utils import send, set_link

BUS = "vcan1"
SECONDS = 4.0


def opened(**changes: Any) -> SocketCanBus:
    source = open_source(DongleSection(BUS, **changes))
    assert isinstance(source, SocketCanBus)
    return source


@pytest.fixture
def source() -> Iterator[SocketCanBus]:
    one = opened(fd=True)
    yield one
    one.close()


@pytest.fixture
def classic_link() -> Iterator[str]:
    """An interface of its own, with the MTU of classic CAN, that a test may take away."""
    name = "vcan7"
    subprocess.run(["ip", "link", "add", name, "type", "vcan"], check=True)
    subprocess.run(["ip", "link", "set", name, "mtu", "16", "up"], check=True)
    yield name
    subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


def read(source: SocketCanBus, count: int) -> FrameBatch:
    batches: list[FrameBatch] = []
    while sum(map(len, batches)) < count:
        items = source.read(10.0)
        assert items, f"{count} frames"
        batches += [item for item in items if isinstance(item, FrameBatch)]
    return concatenate(batches)


def test_every_kind_of_frame_comes_through(source: SocketCanBus) -> None:
    before_ns = Clock().wall_ns()
    send(BUS, "7E8#010203", "18DAF110#1122334455667788", "100#R5", "20000088#0000080000000000")
    send(BUS, "001##3" + "AB" * 12)
    batch = read(source, 5)
    assert batch.arbitration_id.tolist() == [0x7E8, 0x18DAF110, 0x100, 0x88, 0x1]
    assert batch.flags.tolist() == [
        0, FrameFlag.EXTENDED, FrameFlag.REMOTE, FrameFlag.ERROR,
        FrameFlag.FD | FrameFlag.BRS | FrameFlag.ESI,
    ]  # fmt: skip
    assert batch.length.tolist() == [3, 8, 5, 8, 12]
    assert batch.data[4, :13].tolist() == [0xAB] * 12 + [0]
    stamps = batch.timestamp_ns.tolist()
    assert before_ns <= stamps[0] < stamps[-1] <= Clock().wall_ns()
    assert source.malformed == 0


def test_the_echo_of_an_own_frame_is_sent_and_that_of_another_program_is_received(
    source: SocketCanBus,
) -> None:
    source._socket.send((0x123).to_bytes(4, sys.byteorder) + bytes([1, 0, 0, 0, 0xFF]) + bytes(7))
    send(BUS, "124#FF")
    batch = read(source, 2)
    assert batch.arbitration_id.tolist() == [0x123, 0x124]
    assert batch.flags.tolist() == [FrameFlag.TX, 0]


def test_fd_frames_are_left_out_unless_they_are_wanted() -> None:
    source = opened()
    send(BUS, "001##1AB", "002#AB")
    assert read(source, 1).arbitration_id.tolist() == [2]
    source.close()


def test_the_kernel_filters_for_us() -> None:
    filters = [FrameFilter("0x7E8", "0x7F8"), FrameFilter("0x18DAF110")]
    source = opened(frame_filters=filters)
    send(BUS, "7E9#", "18DAF110#", "7F0#", "000007E8#", "20000088#0000080000000000", "7EF#R", "18DAF111#")
    assert read(source, 4).arbitration_id.tolist() == [0x7E9, 0x18DAF110, 0x88, 0x7EF]
    assert source.read(0.01) == []
    source.close()


@pytest.mark.parametrize(
    ("channel", "code", "remedy"),
    [
        ("no-such-can", "NO_DEVICE", "plug it in"),
        ("lo", "NO_DEVICE", "channel"),
        ("x" * 20, "CANNOT_OPEN", ""),
    ],
)
def test_what_is_no_can_interface_is_told(channel: str, code: str, remedy: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(DongleSection(channel))
    assert caught.value.code == code
    assert remedy in caught.value.remedy


def test_fd_needs_an_interface_that_is_set_up_for_it(classic_link: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(DongleSection(classic_link, fd=True))
    assert caught.value.code == "NO_FD"
    assert "fd on" in caught.value.remedy
    open_source(DongleSection(classic_link)).close()


def test_an_interface_that_goes_down_is_told_after_its_last_frames(classic_link: str) -> None:
    source = open_source(DongleSection(classic_link))
    send(classic_link, "123#")
    set_link(classic_link, "down")
    assert isinstance(source, SocketCanBus)
    assert len(read(source, 1)) == 1
    for again in (lambda: source.read(10.0), lambda: open_source(DongleSection(classic_link))):
        with pytest.raises(SourceError) as caught:
            again()
        assert caught.value.code == "DOWN"
        assert f"sudo ip link set {classic_link} up" in caught.value.remedy
    source.close()


def test_an_interface_that_vanishes_is_told(classic_link: str) -> None:
    source = open_source(DongleSection(classic_link))
    subprocess.run(["ip", "link", "del", classic_link], check=True)
    codes = []
    for again in (lambda: source.read(10.0), lambda: open_source(DongleSection(classic_link))):
        with pytest.raises(SourceError) as caught:
            again()
        codes.append(caught.value.code)
    assert codes[0] in {"DOWN", "NO_DEVICE"}  # it goes down before it goes away
    assert codes[1] == "NO_DEVICE"
    source.close()


async def test_a_bus_is_read_again_when_it_is_back(classic_link: str) -> None:
    states: asyncio.Queue[State] = asyncio.Queue()

    async def until(code: StatusCode) -> None:
        while (await states.get()).code is not code:
            pass

    reader = SourceReader("van7-can0", lambda: open_source(DongleSection(classic_link)), states.put_nowait)
    reader.start()
    await until(StatusCode.OK)
    set_link(classic_link, "down")
    await until(StatusCode.FAILED)
    set_link(classic_link, "up")
    await until(StatusCode.OK)
    send(classic_link, "123#")
    assert [len(item) for item in await reader.read() if isinstance(item, FrameBatch)] == [1]
    await reader.stop()


def test_what_the_kernel_drops_is_counted_where_it_is_missing(source: SocketCanBus) -> None:
    source._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sent = 0
    with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as sender:
        sender.bind((BUS,))
        items: list[Item] = []
        for count in (500, 1, 500, 1):
            for number in range(sent, sent + count):
                sender.send(struct.pack("=IB3x8s", number | socket.CAN_EFF_FLAG, 0, b""))
            sent += count
            items += source.read(1.0)
    number = 0
    for item in items:
        if isinstance(item, Dropped):
            number += item.frames or 0
        else:
            assert item.arbitration_id.tolist() == list(range(number, number + len(item)))
            number += len(item)
    assert number == sent
    assert sum(isinstance(item, Dropped) for item in items) >= 2


def test_without_privileges_the_receive_buffer_is_as_large_as_the_system_allows() -> None:
    look = """if True:
        from edge_agent.config.dongle import DongleSection
        from edge_agent.bus.opening import open_source
        import sys
        print(open_source(DongleSection(sys.argv[1])).info)
    """

    def told(user: str) -> str:
        command = [sys.executable, "-c", look, BUS]
        return subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, user=user, cwd="/"
        ).stdout

    limit = Path("/proc/sys/net/core/rmem_max")
    before = limit.read_text()
    limit.write_text("212992")  # the kernel's own default
    try:
        assert f"receive buffer of {2 * 212992 >> 10} KiB" in told("nobody")
        assert "sudo sysctl net.core.rmem_max=" in told("nobody")
        assert told("root") == f"socketcan {BUS}\n"
    finally:
        limit.write_text(before)


def test_nothing_is_lost_and_candump_has_the_same() -> None:
    kept = keep(record_ours, BUS, RATES[0], SECONDS)
    assert kept.is_all, kept
    assert kept.same_as_candump, kept


@pytest.mark.speed
def test_a_fifth_of_what_python_can_takes() -> None:
    cost = measure(BUS)
    assert cost.ratio >= REQUIRED_RATIO, cost
