"""Windows of logs: when each is due, how laps follow on each other, and what there is nothing to loop of."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from edge_agent.errors import ReplayError
from edge_agent.lanes.batching import Window
from edge_agent.logs.selection import Selection, parse_id_range
from edge_agent.replay import replay as replaying
from edge_agent.replay.replay import Pace, Replay, by_channel

ALL_AT_ONCE = Pace(None, 0.05, loop=False)
DRIVE = """\
(1000.000000) can0 100#01
(1000.010000) can1 101#02
(1000.020000) can0 100#03
(1000.500000) can0 100#04
(1001.500000) can1 101#05
"""
SECOND_NS = 10**9


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    path = tmp_path / "drive.log"
    path.write_text(DRIVE)
    return path


class PlayedTime:
    """Time that passes only while a replay sleeps."""

    def __init__(self, mocker: MockerFixture) -> None:
        self.now_seconds = 50.0
        self.sleeps: list[float] = []
        mocker.patch("time.monotonic", side_effect=lambda: self.now_seconds)
        mocker.patch("asyncio.sleep", side_effect=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now_seconds += seconds


@pytest.fixture
def played(mocker: MockerFixture) -> PlayedTime:
    return PlayedTime(mocker)


async def windows(replay: Replay, count: int = 1000) -> list[Window]:
    found = []
    async for window in replay.windows():
        found.append(window)
        if len(found) == count:
            break
    return found


def numbers(window: Window) -> list[int]:
    return [int(number) for number in window[0].data[:, 0]]


# -- windows


async def test_a_window_has_what_lies_within_its_time(drive: Path) -> None:
    replay = Replay(Selection([drive]), ALL_AT_ONCE)
    assert [numbers(window) for window in await windows(replay)] == [[1, 2, 3], [4], [5]]
    assert replay.frames == 5


async def test_all_at_once_waits_for_nothing(drive: Path, played: PlayedTime) -> None:
    await windows(Replay(Selection([drive]), ALL_AT_ONCE))
    assert played.sleeps == []


@pytest.mark.parametrize("speed", [1.0, 10.0])
async def test_a_window_is_given_out_when_its_last_frame_is_due(
    speed: float, drive: Path, played: PlayedTime
) -> None:
    replay = Replay(Selection([drive]), Pace(speed, 0.05, loop=False))
    due = [(numbers(window), round(played.now_seconds - 50.0, 6)) async for window in replay.windows()]
    late = replaying.BEAT_SECONDS + 1e-9
    assert [one for one, _ in due] == [[1, 2, 3], [4], [5]]
    for (_, seconds), log_seconds in zip(due, (0.02, 0.5, 1.5), strict=True):
        assert log_seconds / speed <= seconds <= log_seconds / speed + late


async def test_a_fine_pace_does_not_wake_for_every_frame(tmp_path: Path, played: PlayedTime) -> None:
    path = tmp_path / "dense.log"
    path.write_text("".join(f"(1000.{n * 100:06d}) can0 100#{n % 256:02X}\n" for n in range(1000)))
    await windows(Replay(Selection([path]), Pace(1.0, 0.05, loop=False)))
    assert min(played.sleeps) >= replaying.BEAT_SECONDS
    assert len(played.sleeps) <= 0.1 / replaying.BEAT_SECONDS + 2


async def test_frames_count_once_they_are_given_out(drive: Path) -> None:
    replay = Replay(Selection([drive]), ALL_AT_ONCE)
    assert replay.frames == 0
    assert [replay.frames async for _ in replay.windows()] == [3, 4, 5]


async def test_what_is_there_already_is_not_waited_for_and_the_rest_keeps_its_spacing(
    drive: Path, played: PlayedTime
) -> None:
    replay = Replay(Selection([drive]), Pace(2.0, 0.05, loop=False))

    async def is_there(window: Window) -> bool:
        return numbers(window)[0] < 5

    replay.is_there = is_there
    due = [(numbers(window), played.now_seconds - 50.0) async for window in replay.windows()]
    assert [one for one, _ in due] == [[1, 2, 3], [4], [5]]
    assert [seconds for _, seconds in due[:2]] == [0, 0]
    assert 0.5 <= due[2][1] <= 0.5 + replaying.BEAT_SECONDS + 1e-9, "a second behind the last that was there"


# -- laps


async def test_a_lap_follows_a_second_behind_the_last_frame_and_keeps_the_spacing(
    drive: Path, played: PlayedTime
) -> None:
    replay = Replay(Selection([drive]), Pace(1.0, 0.05, loop=True))
    found = await windows(replay, 9)
    assert [numbers(window) for window in found] == [[1, 2, 3], [4], [5]] * 3
    starts = [int(window[0].timestamp_ns[0]) for window in found[::3]]
    assert starts == [1000 * SECOND_NS, 1002_500_000_000, 1005_000_000_000]
    within = [
        int(window[0].timestamp_ns[0]) - start for window, start in zip(found[5::3], starts[1:], strict=True)
    ]
    assert within == [1_500_000_000] * 2
    assert 50 + 6.5 <= played.now_seconds <= 50 + 6.6, "two pauses of a second, three times the log"
    assert replay.frames == 15


async def test_times_of_a_lap_never_go_back_though_those_of_the_log_do(tmp_path: Path) -> None:
    path = tmp_path / "two-buses.log"
    path.write_text("(1005.0) can0 100#01\n(1000.0) can1 100#02\n(1002.0) can1 100#03\n")
    found = await windows(Replay(Selection([path]), Pace(None, 0.05, loop=True)), 6)
    times = [int(window[0].timestamp_ns[0]) // SECOND_NS for window in found]
    assert times == [1005, 1000, 1002, 1011, 1006, 1008]
    assert min(times[3:]) > max(times[:3])


async def test_there_is_nothing_to_loop_where_nothing_is_selected(drive: Path) -> None:
    replay = Replay(Selection([drive], ids=[parse_id_range("555")]), Pace(None, 0.05, loop=True))
    with pytest.raises(ReplayError, match="nothing of these logs is selected"):
        await windows(replay)
    assert await windows(Replay(Selection([drive], ids=[parse_id_range("555")]), ALL_AT_ONCE)) == []


# -- channels


async def test_a_window_is_told_apart_by_channel_in_the_order_of_the_log(drive: Path) -> None:
    (first, second, _) = await windows(Replay(Selection([drive]), ALL_AT_ONCE))
    assert [(number, frames.data[:, 0].tolist()) for number, frames in by_channel(first)] == [
        (0, [1, 3]),
        (1, [2]),
    ]
    ((number, frames),) = by_channel(second)
    assert number == 0
    assert frames is second[0], "nothing is copied for one channel"
