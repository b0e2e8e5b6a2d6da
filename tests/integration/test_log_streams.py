"""Logs from pipes, logs that are cut, replays taken up again: through the commands as they are installed."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.agents import recorded_lines, wait_for_recorded
from tests.helpers.processes import EnrolledAgent, StreamServer, installed_command, replay_summary

EDGE_AGENT: Final = list(map(str, installed_command("edge-agent")))
DATABASE: Final = str(Path(__file__).resolve().parents[2] / "dbc" / "obd2.dbc")
SOON_SECONDS: Final = 20.0


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """One that reads standard input, and ends with the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*EDGE_AGENT, *arguments], bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run(*arguments: str | Path, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """A command to its end."""
    return subprocess.run(
        [*EDGE_AGENT, *map(str, arguments)], input=content, capture_output=True, check=False, timeout=60
    )


@pytest.mark.parametrize("arguments", [("decode", "-", "--dbc", DATABASE), ("replay", "-", "--print")])
def test_each_line_of_a_pipe_comes_out_while_the_next_is_not_written(arguments: tuple[str, ...]) -> None:
    with command(*arguments) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for number in range(3):
            process.stdin.write(b"(%d.5) can0 7E8#04410C0FA0\n" % (1766417462 + number))
            line = json.loads(process.stdout.readline())  # until it is there: nothing more is written before
            assert line["ts"].startswith(f"2025-12-22T15:31:0{2 + number}")
        process.stdin.close()
        assert process.wait(SOON_SECONDS) == 0
        assert b"-: 3 lines: 3 frames\n" in process.stderr.read()


def test_standard_input_may_be_compressed_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(b"(1.5) can0 123#11\n" * 1000))
    with path.open("rb") as file:
        done = subprocess.run(
            [*EDGE_AGENT, "replay", "/dev/stdin", "--print", "--speed", "max"],
            stdin=file, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 1000)


def test_a_log_that_is_cut_ends_with_status_1_and_a_summary_for_programs(tmp_path: Path) -> None:
    path = tmp_path / "drive.log.gz"
    lines = b"".join(b"(%d.000000) can0 7E8#04410C%04X\n" % (1766417462 + n, n) for n in range(2000))
    path.write_bytes(gzip.compress(lines)[:-200])
    done = run("decode", path, "--dbc", DATABASE, "--json")
    assert done.returncode == 1
    said = json.loads(done.stderr.splitlines()[-1])
    assert said["unreadable"] == 1
    assert 1000 < said["frames"] == done.stdout.count(b"\n") < 2000
    (log,) = said["logs"]
    assert (log["is_cut"], log["items"]) == (True, log["frames"] + 1)
    assert run("replay", path, "--print", "--speed", "max").returncode == 1


def test_logs_without_a_date_get_one(tmp_path: Path) -> None:
    path = tmp_path / "drive.csv"
    path.write_text("Time Stamp,ID,Extended,Dir,Bus,LEN,D1\n1000,7E8,false,Rx,0,1,04\n")
    done = run("replay", path, "--print", "--start-time", "2025-01-05T09:00:00+01:00")
    assert json.loads(done.stdout)["ts"] == "2025-01-05T08:00:00.000000Z"
    assert b"Warning" not in done.stderr
    assert b"--start-time" in run("decode", path, "--dbc", DATABASE, "--signals", "*").stderr
    said = run("decode", path, "--dbc", DATABASE, "--signals", "*RPM*", "--start-time", "2025-01-05").stderr
    assert b"--signals" in said


def test_a_pipe_cannot_be_looped_or_taken_up_again(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    server = ("--server", "http://127.0.0.1:9")
    assert b"--loop reads a log again" in run("replay", fifo, "--print", "--loop").stderr
    resume = run("replay", "-", *server, "--resume", tmp_path / "place")
    assert (resume.returncode, resume.stdout) == (2, b"")
    both = run("replay", "-", *server, "--token-file", "-")
    assert b"not both" in both.stderr


def test_a_replay_taken_up_again_goes_on_where_the_server_has_everything(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    """Nobody waits for what is recorded, the rest keeps its spacing, and no frame is missing or twice."""
    speed, per_second, log_seconds = 6, 20, 24
    lines = []
    for number in range(per_second * log_seconds):
        # Of two buses, one of which is silent at first.
        bus = f"can{number % 2 if number > per_second * 14 else 0}"
        lines.append(f"({1766417462 + number / per_second:.6f}) {bus} 123#{number:08X}")
    path = tmp_path / "drive.log"
    path.write_text("\n".join(lines) + "\n")
    agent = EnrolledAgent(server, "again", tmp_path)
    options = ["--resume", str(tmp_path / "place"), "--speed", str(speed)]
    with agent.replay(path, options=options) as process:
        wait_for_recorded(server, "again-can1", viewer, 12)
        process.kill()
    recorded = sum(len(recorded_lines(server, f"again-{bus}", viewer)) for bus in ("can0", "can1"))
    rest_seconds = (len(lines) - recorded) / per_second / speed
    began = time.monotonic()
    with agent.replay(path, options=options) as process:
        summary = replay_summary(process)
    assert time.monotonic() - began < log_seconds / speed, "else all of the log was waited for"
    assert summary.seconds > rest_seconds - 0.5, "the rest keeps its spacing"
    assert (summary.frames, summary.acknowledged, summary.lost) == (len(lines), len(lines), 0)
    for bus in ("can0", "can1"):
        wanted = [line for line in lines if f" {bus} " in line]
        assert recorded_lines(server, f"again-{bus}", viewer) == wanted
