"""python-can's interfaces as sources: its virtual bus, and its own slcan for what serial drivers do wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import can
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate
from edge_agent.bus.python_can_bus import PythonCanBus, row_of
from edge_agent.bus.reader import ReaderLimits, SourceReader
from edge_agent.config.dongle import DongleSection
from edge_agent.errors import SourceError
from edge_agent.host.clock import Clock
from edge_agent.state import State, StatusCode
from tests.helpers.lawicel import LawicelAdapter

SLCAN_OPTIONS: dict[str, Any] = {"sleep_after_open": 0}


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Iterator[can.BusABC]:
    with can.Bus(request.node.name, "virtual", ignore_config=True) as bus:
        yield bus


@pytest.fixture
def source(request: pytest.FixtureRequest) -> Iterator[PythonCanBus]:
    opened = PythonCanBus(DongleSection(request.node.name, interface="virtual"))
    yield opened
    opened.close()


def read_until(source: PythonCanBus, count: int) -> FrameBatch:
    batches: list[FrameBatch] = []
    for _ in range(1000):
        if sum(len(batch) for batch in batches) >= count:
            break
        batches.append(source.read(0.2))
    return concatenate(batches)


def test_every_kind_of_frame_comes_through(peer: can.BusABC, source: PythonCanBus) -> None:
    sent = [
        can.Message(arbitration_id=0x7E8, is_extended_id=False, data=[1, 2, 3]),
        can.Message(arbitration_id=0x18DAF110, is_extended_id=True, data=bytes(8)),
        can.Message(arbitration_id=0x100, is_extended_id=False, is_remote_frame=True, dlc=5),
        can.Message(arbitration_id=0x88, is_extended_id=False, is_error_frame=True, data=bytes(8)),
        can.Message(
            arbitration_id=0x1, is_extended_id=False, is_fd=True, bitrate_switch=True,
            error_state_indicator=True, data=bytes(range(12)),
        ),
    ]  # fmt: skip
    before = Clock().wall_ns()
    for message in sent:
        peer.send(message)
    batch = read_until(source, 5)
    assert batch.arbitration_id.tolist() == [0x7E8, 0x18DAF110, 0x100, 0x88, 0x1]
    assert batch.flags.tolist() == [
        0, FrameFlag.EXTENDED, FrameFlag.REMOTE, FrameFlag.ERROR,
        FrameFlag.FD | FrameFlag.BRS | FrameFlag.ESI,
    ]  # fmt: skip
    assert batch.length.tolist() == [3, 8, 5, 8, 12]
    assert batch.data[4, :12].tolist() == list(range(12))
    assert all(before - 1000 <= stamp <= Clock().wall_ns() for stamp in batch.timestamp_ns.tolist())
    assert source.malformed == 0


def test_a_read_takes_all_that_is_there_and_an_idle_bus_gives_nothing(
    peer: can.BusABC, source: PythonCanBus
) -> None:
    for number in range(500):
        peer.send(can.Message(arbitration_id=number, is_extended_id=False))
    assert source.read(1.0).arbitration_id.tolist() == list(range(500))
    assert len(source.read(0.01)) == 0


def test_impossible_frames_are_counted_and_the_others_kept(peer: can.BusABC, source: PythonCanBus) -> None:
    for message in (
        can.Message(arbitration_id=0x800, is_extended_id=False),
        can.Message(arbitration_id=1, is_extended_id=False, dlc=8, data=[1]),
        can.Message(arbitration_id=2, is_extended_id=False, data=[7]),
        can.Message(arbitration_id=3, is_fd=True, dlc=9, data=bytes(9)),
    ):
        peer.send(message)
    assert read_until(source, 1).arbitration_id.tolist() == [2]
    assert source.malformed == 3


@given(
    st.integers(-1, 2**32),
    st.integers(-1, 70),
    st.binary(max_size=70),
    st.floats(),
    st.lists(st.booleans(), min_size=7, max_size=7),
)
def test_any_message_is_a_possible_frame_or_none(
    arbitration_id: int, dlc: int, data: bytes, stamp: float, flags: list[bool]
) -> None:
    extended, remote, error, *rest = flags
    row = row_of(can.Message(stamp, arbitration_id, extended, remote, error, None, dlc, data, *rest[:4]))
    if row is not None:
        assert -(2**63) <= row[0] < 2**63
        assert 0 <= row[1] < 2**29
        assert row[2] & FrameFlag.EXTENDED or row[2] & FrameFlag.ERROR or row[1] < 2**11
        assert len(row[4]) <= 64
        assert row[3] <= 15 or row[2] & FrameFlag.FD


@pytest.fixture
def adapter() -> Iterator[LawicelAdapter]:
    with LawicelAdapter() as plugged:
        yield plugged


def slcan(port: str, **changes: Any) -> DongleSection:
    return DongleSection(port, interface="slcan", bitrate=500_000, options=dict(SLCAN_OPTIONS), **changes)


def test_garbage_on_the_serial_line_is_counted_and_reading_goes_on(adapter: LawicelAdapter) -> None:
    source = PythonCanBus(slcan(adapter.path))
    assert adapter.opened.wait(5)
    adapter.send(b"tXYZ1\rt12\rt1238AA\r\a\rt0011FF\r")
    assert read_until(source, 1).arbitration_id.tolist() == [1]
    assert source.malformed == 3
    source.close()


def test_a_line_that_jams_the_driver_is_a_failure_so_that_it_is_opened_again(adapter: LawicelAdapter) -> None:
    source = PythonCanBus(slcan(adapter.path))
    assert adapter.opened.wait(5)
    adapter.send(b"\xff\r" + b"t0011FF\r" * 20)
    with pytest.raises(SourceError) as caught:
        read_until(source, 1)
    assert caught.value.code == "READ_FAILED"
    source.close()


async def test_an_adapter_that_is_unplugged_and_plugged_in_again_is_read_again(
    adapter: LawicelAdapter, tmp_path: Path
) -> None:
    port = tmp_path / "can-adapter"
    port.symlink_to(adapter.path)
    states: list[State] = []
    reader = SourceReader(
        "van7-can0",
        lambda: PythonCanBus(slcan(str(port))),
        states.append,
        ReaderLimits(read_timeout_seconds=0.05),
    )
    reader.start()
    try:
        await asyncio.to_thread(adapter.opened.wait, 10)
        adapter.send(b"t0011FF\r")
        assert isinstance((await reader.read())[0], FrameBatch)
        port.unlink()
        adapter.unplug()
        again = LawicelAdapter()
        port.symlink_to(again.path)
        await asyncio.to_thread(again.opened.wait, 10)
        again.send(b"t0021FF\r")
        batch = (await reader.read())[0]
        assert isinstance(batch, FrameBatch)
        assert batch.arbitration_id.tolist() == [2]
    finally:
        await reader.stop()
    again.unplug()
    codes = [state.code for state in states]
    assert StatusCode.FAILED in codes
    assert codes[-2:] == [StatusCode.OK, StatusCode.STOPPED]


def failure_of(dongle: DongleSection) -> SourceError:
    with pytest.raises(SourceError) as caught:
        PythonCanBus(dongle)
    return caught.value


def test_an_unknown_interface_is_told_with_its_nearest_name() -> None:
    error = failure_of(DongleSection("can0", interface="socketcn"))
    assert (error.code, error.remedy) == ("UNKNOWN_INTERFACE", "did you mean 'socketcan'?")


def test_a_missing_driver_is_told_with_what_to_install() -> None:
    try:
        import gs_usb  # type: ignore[import-not-found] # optional, and absent where this test runs
    except ImportError:
        error = failure_of(DongleSection("0", interface="gs_usb"))
        assert error.code == "NO_DRIVER"
        assert "pip install 'python-can[gs-usb]'" in str(error)
    else:
        pytest.skip(f"{gs_usb} is installed here")


def test_a_port_that_is_not_there_is_told() -> None:
    error = failure_of(slcan("/dev/no-such-port"))
    assert error.code == "NO_DEVICE"
    assert "plug it in" in str(error)


def test_a_port_without_permission_is_told(adapter: LawicelAdapter) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may open everything")
    Path(adapter.path).chmod(0)
    assert "dialout" in str(failure_of(slcan(adapter.path)))


def test_a_bit_rate_that_the_driver_refuses_is_told(adapter: LawicelAdapter) -> None:
    error = failure_of(DongleSection(adapter.path, interface="slcan", bitrate=123_456, options=SLCAN_OPTIONS))
    assert error.code == "BAD_OPTION"
    assert "Invalid bitrate" in str(error)


def test_socketcan_without_an_interface_is_told() -> None:
    error = failure_of(DongleSection("no-such-can7"))
    assert error.code in {"NO_DEVICE", "NO_SOCKETCAN"}
    assert error.remedy


def test_udp_multicast_reaches_between_two_buses() -> None:
    pytest.importorskip("msgpack", reason="python-can's udp_multicast needs msgpack (python-can[multicast])")
    channel, port = "239.74.163.2", 43_117
    dongle = DongleSection(channel, interface="udp_multicast", options={"port": port})
    try:
        source = PythonCanBus(dongle)
    except SourceError as error:
        pytest.skip(f"no multicast here: {error}")
    with can.Bus(channel, "udp_multicast", port=port, ignore_config=True) as peer:
        peer.send(can.Message(arbitration_id=5, is_extended_id=False, data=[1]))
        assert read_until(source, 1).arbitration_id.tolist() == [5]
    source.close()


def test_how_old_frames_are_is_known_from_when_the_driver_was_last_empty(
    peer: can.BusABC, source: PythonCanBus
) -> None:
    clock = Clock()
    peer.send(can.Message(arbitration_id=1, is_extended_id=False))
    assert len(read_until(source, 1)) == 1
    assert source.born_ns == 0, "it was never empty"
    before_ns = clock.boottime_ns()
    peer.send(can.Message(arbitration_id=2, is_extended_id=False))
    assert len(read_until(source, 1)) == 1
    assert 0 < source.born_ns <= before_ns
    assert len(source.read(0.01)) == 0
    empty_ns = clock.boottime_ns()
    peer.send(can.Message(arbitration_id=3, is_extended_id=False))
    assert len(read_until(source, 1)) == 1
    assert before_ns < source.born_ns <= empty_ns
