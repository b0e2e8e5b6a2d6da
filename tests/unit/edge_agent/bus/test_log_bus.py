"""A log plays the part of a bus."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from can_stream.frames.batches import FrameBatch, concatenate
from edge_agent.bus.log_bus import LogBus
from edge_agent.bus.opening import open_source
from edge_agent.bus.python_can_bus import PythonCanBus
from edge_agent.bus.reader import ReaderLimits, SourceReader
from edge_agent.config.dongle import DongleSection, LogOptions
from edge_agent.errors import SourceEndedError, SourceError
from edge_agent.host.clock import Clock
from edge_agent.state import State, StatusCode


class FastClock(Clock):
    """A clock that runs 1,000 times as fast, so that a test need not wait for a log."""

    def __init__(self) -> None:
        self._began_ns = time.monotonic_ns()

    def monotonic_ns(self) -> int:
        return self._began_ns + 1_000 * (time.monotonic_ns() - self._began_ns)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / 1_000)

    def wall_ns(self) -> int:
        return 1_766_417_462 * 10**9 + self.monotonic_ns()


def log_file(directory: Path, *rows: tuple[float, str, int]) -> Path:
    path = directory / "drive.log"
    path.write_text("".join(f"({second:.6f}) {channel} {one:03X}#11\n" for second, channel, one in rows))
    return path


def played(bus: LogBus, at_least: int | None = None) -> FrameBatch:
    batches: list[FrameBatch] = []
    while at_least is None or sum(len(batch) for batch in batches) < at_least:
        try:
            batches.append(bus.read(5.0))
        except SourceEndedError:
            break
    return concatenate(batches)


def test_frames_come_in_order_with_the_time_of_now_at_their_own_spacing(tmp_path: Path) -> None:
    path = log_file(tmp_path, (1000, "can0", 1), (1000.5, "can1", 2), (1003, "can0", 3))
    clock = FastClock()
    before = clock.wall_ns()
    frames = played(LogBus(path, clock=clock))
    assert frames.arbitration_id.tolist() == [1, 2, 3]
    assert np.diff(frames.timestamp_ns).tolist() == [500_000_000, 2_500_000_000]
    assert before <= int(frames.timestamp_ns[0])
    assert int(frames.timestamp_ns[-1]) <= clock.wall_ns()


def test_frames_that_are_not_due_are_not_given(tmp_path: Path) -> None:
    bus = LogBus(log_file(tmp_path, (0, "can0", 1), (3600, "can0", 2)))
    assert len(bus.read(0.0)) == 1
    assert len(bus.read(0.01)) == 0
    assert len(bus.read(0.0)) == 0


def test_speed_divides_the_spacing(tmp_path: Path) -> None:
    path = log_file(tmp_path, (0, "can0", 1), (100, "can0", 2))
    frames = played(LogBus(path, LogOptions(speed=100), FastClock()))
    assert np.diff(frames.timestamp_ns).tolist() == [1_000_000_000]


def test_at_full_speed_nothing_waits(tmp_path: Path) -> None:
    rows = [(float(second * 1000), "can0", second % 0x7FF) for second in range(5000)]
    frames = played(LogBus(log_file(tmp_path, *rows), LogOptions(speed="max")))
    assert frames.arbitration_id.tolist() == [one for _, _, one in rows]
    assert (np.diff(frames.timestamp_ns) >= 0).all()


def test_one_channel_of_the_log_can_be_chosen(tmp_path: Path) -> None:
    path = log_file(tmp_path, (0, "can0", 1), (1, "can1", 2), (2, "can0", 3))
    frames = played(LogBus(path, LogOptions(log_channel="can0"), FastClock()))
    assert frames.arbitration_id.tolist() == [1, 3]


def test_laps_follow_at_the_mean_distance_of_the_frames(tmp_path: Path) -> None:
    path = log_file(tmp_path, (10, "can0", 1), (10.1, "can0", 2), (10.4, "can0", 3))
    frames = played(LogBus(path, LogOptions(loop=True), FastClock()), at_least=7)[:7]
    assert frames.arbitration_id.tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert (np.diff(frames.timestamp_ns) // 10**6).tolist() == [100, 300, 200, 100, 300, 200]


def test_a_log_without_a_length_does_not_spin(tmp_path: Path) -> None:
    frames = played(
        LogBus(log_file(tmp_path, (5, "can0", 1)), LogOptions(loop=True), FastClock()), at_least=3
    )
    assert np.diff(frames.timestamp_ns).tolist() == [10**9, 10**9]


def test_unreadable_lines_are_counted_over_all_laps(tmp_path: Path) -> None:
    path = log_file(tmp_path, (0, "can0", 1), (0.1, "can0", 2))
    path.write_text(path.read_text() + "(1.0) can0 XYZ#11\n")
    bus = LogBus(path, LogOptions(loop=True), FastClock())
    played(bus, at_least=5)
    assert bus.malformed >= 2
    bus.close()


def test_a_log_without_frames_of_the_channel_is_told(tmp_path: Path) -> None:
    bus = LogBus(log_file(tmp_path, (0, "can0", 1)), LogOptions(log_channel="can7", loop=True))
    with pytest.raises(SourceError, match="its channels are: can0") as caught:
        bus.read(1.0)
    assert caught.value.code == "NO_FRAMES"


def test_a_log_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.log") as caught:
        LogBus(tmp_path / "none.log")
    assert caught.value.code == "NO_LOG"


async def test_a_log_is_a_dongle_like_any_other(tmp_path: Path) -> None:
    rows = [(second / 1000, "can0", second % 0x7FF) for second in range(3000)]
    dongle = DongleSection(str(log_file(tmp_path, *rows)), interface="log", options={"speed": "max"})
    states: list[State] = []
    limits = ReaderLimits(queue_frames=100, read_timeout_seconds=0.05)
    reader = SourceReader("van7-log", lambda: open_source(dongle), states.append, limits)
    reader.start()
    frames: list[int] = []
    while items := await reader.read():
        for item in items:
            assert isinstance(item, FrameBatch)
            frames += item.arbitration_id.tolist()
    await reader.stop()
    assert frames == [one for _, _, one in rows]
    assert states[-1].code == StatusCode.STOPPED
    assert states[-1].message.endswith("has been played to its end")


def test_the_interface_decides_what_is_opened(request: pytest.FixtureRequest) -> None:
    opened = open_source(DongleSection(request.node.name, interface="virtual"))
    assert isinstance(opened, PythonCanBus)
    opened.close()


def test_frames_close_together_are_read_together(tmp_path: Path) -> None:
    rows = [(second / 1000, "can0", second % 0x7FF) for second in range(400)]
    bus, reads, frames = LogBus(log_file(tmp_path, *rows)), 0, 0
    while frames < 400:
        frames += len(bus.read(5.0))
        reads += 1
    assert reads <= 400 / 20 + 2


def test_a_frame_is_as_old_as_it_has_been_due_for(tmp_path: Path) -> None:
    """What is played is put on no bus late: a relay would bring it to one."""
    clock = FastClock()
    opened_ns = clock.boottime_ns()
    bus = LogBus(log_file(tmp_path, *[(second, "can0", second) for second in range(4)]), clock=clock)
    assert len(bus.read(0.0)) == 1
    assert opened_ns <= bus.born_ns
    due_ns = clock.boottime_ns() + 10**9
    while not len(bus.read(1.0)):
        pass
    assert bus.born_ns <= due_ns


def test_more_than_one_reading_takes_is_as_old_as_the_first_of_it(tmp_path: Path) -> None:
    rows = [(second / 1_000, "can0", 1) for second in range(5_000)]
    bus = LogBus(log_file(tmp_path, *rows), LogOptions(speed=1_000_000.0))
    assert len(bus.read(5.0)) == 1
    eventually_due_ns = bus.born_ns
    time.sleep(0.02)
    while len(bus.read(5.0)) == 2_000:
        assert eventually_due_ns <= bus.born_ns
