"""Frames onto a bus: what the driver accepts is counted, what it refuses ends the replay with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import can
import pytest
from pytest_mock import MockerFixture

from can_stream.frames.batches import FrameFlag
from can_stream.text.frame_json import FrameRow
from edge_agent.errors import ReplayError, SourceError
from edge_agent.logs.selection import Selection
from edge_agent.replay.replay import Pace, Replay, Totals
from edge_agent.replay.to_bus import BusOutlet, Transmitter, parse_target

DRIVE = """\
(1766417462.000001) can0 123#1122334455667788
(1766417462.000002) can0 18DAF110#02010C
(1766417462.000003) can0 123##7AABBCC
(1766417462.500004) can0 7FF#R5
"""
ERROR = "(1766417462.000006) can0 20000004#0008000000000000\n"


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)


@pytest.fixture
def peer(channel: str) -> Iterator[can.BusABC]:
    with can.Bus(channel, "virtual", ignore_config=True) as bus:
        yield bus


def outlet(tmp_path: Path, channel: str, text: str = DRIVE) -> BusOutlet:
    path = tmp_path / "drive.log"
    path.write_text(text)
    return BusOutlet(Replay(Selection([path]), Pace(None, 0.05, loop=False)), "virtual", channel)


async def test_all_frames_of_a_log_are_accepted(peer: can.BusABC, channel: str, tmp_path: Path) -> None:
    played = outlet(tmp_path, channel)
    assert (played.totals, played.is_complete) == (Totals(0, 0), False)
    await played.run()
    assert (played.totals, played.is_complete) == (Totals(4, 4), True)
    messages = list(iter(lambda: peer.recv(0), None))
    assert [(one.arbitration_id, one.is_extended_id, one.dlc) for one in messages if one] == [
        (0x123, False, 8),
        (0x18DAF110, True, 3),
        (0x123, False, 3),
        (0x7FF, False, 5),
    ]
    fd, remote = messages[2], messages[3]
    assert fd is not None
    assert remote is not None
    assert (fd.is_fd, fd.bitrate_switch, fd.error_state_indicator) == (True, True, True)
    assert (remote.is_remote_frame, remote.is_fd) == (True, False)


async def test_an_error_frame_is_left_out_under_its_own_name(
    peer: can.BusABC, channel: str, tmp_path: Path
) -> None:
    played = outlet(tmp_path, channel, DRIVE + ERROR)
    await played.run()
    assert (played.totals, played.is_complete) == (Totals(5, 4, error_frames=1), True)


async def test_a_frame_that_is_not_taken_ends_it_and_says_which(
    peer: can.BusABC, channel: str, tmp_path: Path, mocker: MockerFixture
) -> None:
    from can.interfaces.virtual import VirtualBus

    failures = [None, can.CanOperationError("no acknowledgement")]
    mocker.patch.object(VirtualBus, "send", side_effect=failures)
    shut = mocker.spy(VirtualBus, "shutdown")
    played = outlet(tmp_path, channel)
    with pytest.raises(ReplayError) as refused:
        await played.run()
    assert str(refused.value) == (
        f"virtual:{channel} does not take frame 2: no acknowledgement; check that the bus is up and that "
        "another node acknowledges"
    )
    assert played.totals.acknowledged == 1
    assert not played.is_complete
    assert shut.call_count == 1, "the adapter can be had again"


def test_a_bus_that_does_not_open_is_told_with_the_remedy() -> None:
    with pytest.raises(SourceError) as refused, Transmitter("no_such_interface", "can0"):
        pass
    assert "no_such_interface" in str(refused.value)


def test_only_socketcan_is_told_of_can_fd(mocker: MockerFixture) -> None:
    opened = mocker.patch("can.Bus")
    for interface in ("socketcan", "pcan"):
        with Transmitter(interface, "x"):
            pass
    assert [call.kwargs.get("fd") for call in opened.call_args_list] == [True, None]


def test_one_frame_is_sent(peer: can.BusABC, channel: str) -> None:
    row = FrameRow(1, 0x7E8, int(FrameFlag(0)), 2, b"\x01\x02")
    with Transmitter("virtual", channel) as transmitter:
        transmitter.send(row)
        assert transmitter.sent == 1
    message = peer.recv(1)
    assert message is not None
    assert (message.arbitration_id, bytes(message.data)) == (0x7E8, b"\x01\x02")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("socketcan:can0", ("socketcan", "can0")),
        ("slcan:/dev/ttyACM0@115200", ("slcan", "/dev/ttyACM0@115200")),
    ],
)
def test_a_target_is_an_interface_and_all_that_follows(text: str, target: tuple[str, str]) -> None:
    assert parse_target(text) == target
