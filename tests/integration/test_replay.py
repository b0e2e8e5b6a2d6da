"""The main job: a log in at one end, the same frames in the recording and on the console at the other."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import Final

import pytest

from can_stream.logs.log_reader import open_log
from tests.helpers.agents import list_dongle, recorded_lines, registered_agents, replay_through
from tests.helpers.candump_logs import write_log
from tests.helpers.candump_noise import write_noise
from tests.helpers.console_client import ConsoleClient
from tests.helpers.metered_proxy import MeteredProxy
from tests.helpers.processes import (
    EnrolledAgent,
    Process,
    StreamServer,
    installed_command,
    replay_summary,
    run_command,
)
from tests.helpers.shared_data import KONA, SHARED_LOGS
from tests.helpers.sse_streams import Event, counted

INDEX = SHARED_LOGS.parent / "logs_index.csv"
MIXED = """\
(1766417462.000001) can0 123#1122334455667788
(1766417462.000002) can0 123#
(1766417462.000002) can1 18DAF110#02010C
(1766417462.000003) can0 7FF#R
(1766417462.000004) can0 7FF#R8
(1766417462.000005) can0 1FFFFFFF#R3
(1766417462.000006) can1 20000004#0008000000000000
(1766417462.000007) can0 20000040#0000000000000000
(1766417462.000008) can0 123##0
(1766417462.000009) can0 123##1AABBCC
(1766417462.000010) can0 00000123##30102030405060708090A0B0C
(1766417461.500000) can0 001#DEAD
(1766417461.400000) can1 001#BEEF
(1766417460.000000) can0 002#00
(1766417470.123456) can0 123#1122334455667788_C
(1766417470.123456) can1 123#AA T
(1766417470.123457) can0 0AA##0"""

PICTURE: Final = Path(__file__).resolve().parents[2] / "docs" / "console.png"


@pytest.mark.parametrize("name", [pytest.param("kona", marks=pytest.mark.recorded), "made-up"])
def test_every_frame_is_recorded_counted_and_acknowledged(
    server: StreamServer, viewer: str, tmp_path: Path, name: str
) -> None:
    path = KONA if name == "kona" else write_log(tmp_path / "drive.log", 20_000, 4_000)
    log = path.read_text().splitlines()
    agent = EnrolledAgent(server, name, tmp_path)
    dongle_id = list_dongle(server, agent)
    with ConsoleClient(server.url, dongle_id, viewer) as console:
        console.wait_for(lambda events: events)
        with agent.replay(path, options=["--speed", "max"]) as process:
            summary = replay_summary(process)
        assert (summary.frames, summary.acknowledged, summary.lost) == (len(log), len(log), 0)
        assert recorded_lines(server, dongle_id, viewer) == log
        console.wait_for(lambda events: counted(events) == len(log))
        offline = console.wait_for(lambda events: [e for e in events if _is_offline(e)])[-1]
        assert (offline.payload["frames_received"], offline.payload["frames_pending"]) == (len(log), 0)
        console.assert_books()


def _is_offline(event: Event) -> bool:
    return event.event == "presence" and event.payload["reason"] == "closed"


def test_every_kind_of_frame_of_two_buses_comes_out_as_it_went_in(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    path = tmp_path / "mixed.log"
    path.write_text(MIXED)
    agent = EnrolledAgent(server, "mixed", tmp_path)
    with agent.replay(path, options=["--speed", "max"]) as process:
        summary = replay_summary(process)
    assert (summary.frames, summary.lost) == (len(MIXED.splitlines()), 0)
    for channel in ("can0", "can1"):
        wanted = [line for line in MIXED.splitlines() if f" {channel} " in line]
        assert recorded_lines(server, f"mixed-{channel}", viewer) == wanted


def test_a_log_of_many_turns_between_two_buses_keeps_the_order_of_each(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    first = write_log(tmp_path / "a", 9_000, 3_000, "can0").read_text().splitlines()
    second = write_log(tmp_path / "b", 9_000, 3_000, "can1").read_text().splitlines()
    path = tmp_path / "both.log"
    path.write_text("\n".join(line for pair in zip(first, second, strict=True) for line in pair) + "\n")
    agent = EnrolledAgent(server, "both", tmp_path)
    with agent.replay(path, options=["--speed", "max"]) as process:
        assert replay_summary(process).frames == 18_000
    assert recorded_lines(server, "both-can0", viewer) == first
    assert recorded_lines(server, "both-can1", viewer) == second


def test_a_replay_keeps_the_logs_own_spacing(server: StreamServer, viewer: str, tmp_path: Path) -> None:
    path = write_log(tmp_path / "short.log", 200, 100)
    agent = EnrolledAgent(server, "paced", tmp_path)
    with agent.replay(path, options=["--speed", "4"]) as process:
        summary = replay_summary(process)
    assert summary.seconds >= 199 / 100 / 4
    assert recorded_lines(server, "paced-can0", viewer) == path.read_text().splitlines()


def test_a_replay_that_a_slow_link_holds_up_waits_instead_of_losing_frames(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    path = write_noise(tmp_path / "large.log", 500_000, 4_000)
    agent = EnrolledAgent(server, "held-up", tmp_path)
    with (
        MeteredProxy(server.port, 20_000) as proxy,
        replay_through(agent, proxy.url, path, options=["--speed", "max"]) as process,
    ):
        # The window is full long before so much has passed.
        assert proxy.wait_for_upstream(80_000, 60)
        proxy.bytes_per_second = None
        summary = replay_summary(process)
    assert (summary.frames, summary.lost) == (500_000, 0)
    recorded = server.read("/api/v1/dongles/held-up-can0/frames", viewer)
    assert recorded == path.read_bytes()


def test_garbage_in_a_log_is_named_and_the_rest_arrives(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    good = write_log(tmp_path / "good", 300, 1000).read_text().splitlines()
    lines = [line.encode() for line in good]
    lines[100:100] = [
        b"\x00\xff\xfe garbage",
        b"(1.0) can0 999999#00",
        b"(12345.6) can0 123#XYZ",
        b"x" * 5000,
    ]
    path = tmp_path / "damaged.log"
    path.write_bytes(b"\n".join(lines) + b"\n(1766417463.0")
    agent = EnrolledAgent(server, "damaged", tmp_path)
    with agent.replay(path, options=["--speed", "max"]) as process:
        summary = replay_summary(process)
        errors = process.errors
    assert (summary.frames, summary.lost) == (300, 0)
    assert recorded_lines(server, "damaged-can0", viewer) == good
    assert "5 lines or records could not be read" in errors
    for number in (101, 102, 103, 104, 305):
        assert f"line {number}" in errors


@pytest.mark.parametrize("content", [b"\x00" * 4096, b"\xff\xd8\xff\xe0 no log at all" * 100])
def test_a_file_that_is_no_log_is_one_sentence(server: StreamServer, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.log"
    path.write_bytes(content)
    command = [*installed_command("edge-agent"), "replay", path, "--print"]
    with Process(command) as process:
        assert process.wait() == 1
        assert process.errors.startswith("Error: ")
        assert str(path) in process.errors
        assert "Traceback" not in process.errors


def shared_logs() -> list[str]:
    with INDEX.open() as file:
        return [row["path"] for row in csv.DictReader(file)]


@pytest.mark.recorded
def test_every_shared_recording_replays_to_a_server_and_to_the_terminal(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    names = shared_logs()
    agents = registered_agents(server, [f"shared{number}" for number in range(len(names))], tmp_path)
    for agent, name in zip(agents, names, strict=True):
        path = SHARED_LOGS.parent / name
        reader = open_log(path)
        frames = sum(len(batch.frames) for batch in reader)
        with replay_through(agent, server.url, path, options=["--speed", "max"]) as process:
            summary = replay_summary(process)
        assert (summary.frames, summary.lost) == (frames, 0), name
        dongles = server.read_json("/api/v1/dongles", viewer)["dongles"]
        mine = [one["recording"]["frames"] for one in dongles if one["agent_id"] == agent.agent_id]
        assert sum(mine) == frames, name
        command = [*installed_command("edge-agent"), "replay", path, "--print", "--speed", "max"]
        printed = run_command(command).splitlines()
        assert len(printed) == frames, name
        kinds = {json.loads(line)["type"] for line in printed[:1] + printed[-1:]}
        assert kinds == ({"can_frame"} if frames else set()), name


def test_a_log_without_times_is_played_and_said(tmp_path: Path) -> None:
    log = tmp_path / "shown.log"
    log.write_text("  can0  123   [2]  01 02\n  can0  124   [1]  03\n")
    command = [*map(str, installed_command("edge-agent")), "replay", str(log), "--print"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["0x123", "0x124"]
    assert "holds no times" in done.stderr


def test_a_picture_is_no_log_and_an_empty_file_is_said(tmp_path: Path) -> None:
    replay = [*map(str, installed_command("edge-agent")), "replay", "--print"]
    command = [*replay, str(PICTURE)]
    picture = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (picture.returncode, picture.stdout) == (1, b"")
    assert b"not a log of a known format" in picture.stderr
    assert picture.stderr.decode().replace("\n", "").isprintable()
    (tmp_path / "empty.log").touch()
    command = [*replay, str(tmp_path / "empty.log")]
    empty = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "not one frame was played: is it the right log?" in empty.stderr
    log = write_log(tmp_path / "drive.log", 3, 1000)
    command = [*replay, "--speed", "max", "--start", "3600", str(log)]
    late = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "not one frame was played: do --start, --end and --id leave any?" in late.stderr


def test_a_database_of_another_vehicle_is_said(server: StreamServer, tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 300, 1000)
    agent = EnrolledAgent(server, "mismatched", tmp_path)
    for database, said in (("j1939", True), ("demo-vehicle", False)):
        with agent.replay(log, options=["--speed", "max", "--dbc", database]) as process:
            assert replay_summary(process).lost == 0
        assert ("--dbc knows" in process.errors) == said, (database, process.errors)
