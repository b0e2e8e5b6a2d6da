"""Parts of logs that several processes decode: in order, all counted, and no process left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from edge_agent.decoding.decode_workers import DecodeWorkers, Written
from edge_agent.decoding.decoded_text import Summary
from edge_agent.errors import OutputError, ReplayError
from edge_agent.logs.read_ahead import LogPart, ReadAhead
from edge_agent.logs.selection import Selection
from tests.helpers.candump_logs import write_log

FRAMES = 60_000  # several parts for each worker
HEAD = b"number\n"


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs") / "drive.log", FRAMES, 4_000)


@pytest.fixture(autouse=True)
def _four_cores(mocker: MockerFixture) -> None:
    mocker.patch("os.sched_getaffinity", return_value=set(range(4)))


class Numbers:
    """What a worker makes of a part: the number of each frame, a line each; and what it counts."""

    def __init__(self) -> None:
        self.counted = Summary()

    def text_of(self, part: LogPart) -> bytes:
        self.counted.frames += len(part.frames)
        self.counted.unknown_ids |= {(one, False) for one in part.frames.arbitration_id.tolist()}
        numbers = [int.from_bytes(bytes(row[:4])) for row in part.frames.data]
        return b"".join(b"%d\n" % number for number in numbers)


def decoded(paths: list[Path], out: int) -> tuple[DecodeWorkers, list[Written]]:
    numbers = Numbers()
    with (
        ReadAhead(Selection(paths)) as source,
        DecodeWorkers(source, numbers.text_of, numbers.counted, out, HEAD) as workers,
    ):
        return workers, list(workers)


def decoded_into(path: Path, paths: list[Path]) -> tuple[DecodeWorkers, list[Written]]:
    with path.open("wb") as file:
        return decoded(paths, file.fileno())


def test_the_text_is_in_the_order_of_the_logs_behind_its_head(drive: Path, tmp_path: Path) -> None:
    out = tmp_path / "numbers.csv"
    workers, written = decoded_into(out, [drive, drive])
    lines = out.read_bytes().splitlines()
    assert lines[0] == HEAD.strip()
    assert [int(line) for line in lines[1:]] == [*range(FRAMES), *range(FRAMES)]
    assert len(written) > 4
    assert sum(one.frames for one in written) == 2 * FRAMES
    fractions = [one.fraction for one in written]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert workers.summary.frames == 2 * FRAMES, "of all workers together"
    assert len(workers.summary.unknown_ids) == 7
    assert workers.end.error is None


def test_fewer_parts_than_workers_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "short.log"
    path.write_text("(1.000000) can0 100#00000005\ngarbage\n")
    workers, written = decoded_into(tmp_path / "out", [path])
    assert (tmp_path / "out").read_bytes() == HEAD + b"5\n"
    assert [one.frames for one in written] == [1]
    assert (workers.end.unreadable, [one.line for one in workers.end.problems]) == (1, [2])
    path.write_text("")
    workers, written = decoded_into(tmp_path / "out", [path])
    assert (tmp_path / "out").read_bytes() == HEAD
    assert (written, workers.summary.frames) == ([], 0)


def test_a_log_that_cannot_be_read_on_is_an_error_behind_the_rest(drive: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.log"
    with pytest.raises(ReplayError, match=r"missing\.log"):
        decoded_into(tmp_path / "out", [drive, missing])
    assert len((tmp_path / "out").read_bytes().splitlines()) == FRAMES + 1


def test_a_disk_that_is_full_is_said(drive: Path) -> None:
    words = "what is decoded cannot be written: No space left on device"
    with Path("/dev/full").open("wb") as full, pytest.raises(OutputError, match=words):
        decoded([drive], full.fileno())
    assert multiprocessing.active_children() == []


def test_a_reader_that_goes_away_is_told_apart_from_a_failure(drive: Path) -> None:
    reading, writing = os.pipe()
    with subprocess.Popen(["head", "-n", "1"], stdin=reading, stdout=subprocess.PIPE) as reader:
        os.close(reading)
        with pytest.raises(BrokenPipeError):
            decoded([drive] * 4, writing)
        assert reader.communicate()[0] == HEAD
    os.close(writing)
    assert multiprocessing.active_children() == []


def test_a_worker_that_is_killed_is_told(drive: Path, tmp_path: Path) -> None:
    def text_of(part: LogPart) -> bytes:
        if part.fraction > 0.4:
            os.kill(os.getpid(), signal.SIGKILL)
        return b"x"

    with (
        (tmp_path / "out").open("wb") as file,
        ReadAhead(Selection([drive])) as source,
        DecodeWorkers(source, text_of, Summary(), file.fileno(), b"") as workers,
        pytest.raises(ReplayError, match=r"is there too little memory\?"),
    ):
        list(workers)
    assert multiprocessing.active_children() == []


def test_a_pipe_that_takes_little_at_a_time_gets_all(drive: Path) -> None:
    reading, writing = os.pipe()
    numbers, received = Numbers(), bytearray()
    with (
        ReadAhead(Selection([drive])) as source,
        DecodeWorkers(source, numbers.text_of, numbers.counted, writing, HEAD),
    ):
        while received.count(b"\n") <= FRAMES:
            received += os.read(reading, 5_000)
    os.close(reading)
    os.close(writing)
    assert received.splitlines()[-1] == str(FRAMES - 1).encode()
