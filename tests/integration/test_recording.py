"""The recording as its readers see it: parts of it, as JSON, with its gaps, its bounds, on a full disk."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.helpers.agents import (
    list_dongle,
    log_dongle,
    recorded_frames,
    recorded_gaps,
    recorded_lines,
    registered_agents,
    replay_through,
    run_agent,
    wait_for_recorded,
)
from tests.helpers.candump_logs import write_log
from tests.helpers.candump_noise import write_noise
from tests.helpers.conditions import eventually
from tests.helpers.processes import EnrolledAgent, StreamServer, replay_summary

FIRST_SECONDS = 1_766_417_462


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def frame_of(line: str) -> str:
    """ID and payload of a candump line."""
    return line.split()[2]


def test_a_part_of_the_recording_is_every_frame_from_a_time_to_before_another(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "drive.log", 1_000, 100)
    lines = log.read_text().splitlines()
    with EnrolledAgent(server, "parts", tmp_path).replay(log, options=["--speed", "max"]) as process:
        replay_summary(process)
    for first, last in ((0, 1_000), (100, 200), (333, 334), (500, 500)):
        query = f"?from={moment(FIRST_SECONDS + first / 100)}&to={moment(FIRST_SECONDS + last / 100)}"
        assert recorded_lines(server, "parts-can0", viewer, query) == lines[first:last]
    assert recorded_lines(server, "parts-can0", viewer, f"?from={moment(FIRST_SECONDS + 9.5)}") == lines[950:]
    assert recorded_lines(server, "parts-can0", viewer, f"?to={moment(FIRST_SECONDS + 0.5)}") == lines[:50]


def test_json_lines_say_the_same_as_candump(server: StreamServer, viewer: str, tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 300, 100)
    with EnrolledAgent(server, "json", tmp_path).replay(log, options=["--speed", "max"]) as process:
        replay_summary(process)
    text = server.read("/api/v1/dongles/json-can0/frames?format=jsonl", viewer).decode()
    start, *frames = [json.loads(line) for line in text.splitlines()]
    assert (start["type"], start["where"], start["frames"]) == ("gap", "agent_start", None)
    again = [
        f"({datetime.fromisoformat(one['ts']).timestamp():.6f}) {one['bus']} "
        f"{int(one['id'], 16):03X}#{one['data_hex'].replace(' ', '')}"
        for one in frames
    ]
    assert again == log.read_text().splitlines()
    assert {one["type"] for one in frames} == {"can_frame"}
    assert {one["dongle_id"] for one in frames} == {"json-can0"}


@pytest.mark.parametrize("query", ["from=yesterday", "to=99999999999999", "format=xml", "from=", "to=%00"])
def test_a_bad_question_is_named(server: StreamServer, viewer: str, tmp_path: Path, query: str) -> None:
    (agent,) = registered_agents(server, [f"bad{query.encode().hex()}"[:64]], tmp_path)
    list_dongle(server, agent)
    with pytest.raises(urllib.error.HTTPError) as caught:
        server.read(f"/api/v1/dongles/{agent.agent_id}-can0/frames?{query}", viewer)
    answer = json.loads(caught.value.read())
    assert (caught.value.code, answer["code"]) == (400, "BAD_REQUEST")
    assert answer["details"]["field"] == query.partition("=")[0]


def test_who_has_read_enough_of_a_download_may_go_and_nothing_is_in_the_log(tmp_path: Path) -> None:
    """`curl .../frames | head -1`."""
    log = write_log(tmp_path / "drive.log", 100_000, 4_000)
    with StreamServer(tmp_path / "server") as server:
        agent, viewer = EnrolledAgent(server, "van7", tmp_path), server.create_token()
        with agent.replay(log, options=["--speed", "max"]) as process:
            replay_summary(process)
        for form in ("candump", "jsonl"):
            request = urllib.request.Request(
                f"{server.url}/api/v1/dongles/van7-can0/frames?format={form}",
                headers={"Authorization": f"Bearer {viewer}"},
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                assert response.readline()
        assert len(recorded_lines(server, "van7-can0", viewer)) == 100_000, "it goes on serving"
        server.stop()
        assert server.process.errors == ""


def test_a_killed_agent_leaves_a_gap_of_unknown_size_and_nothing_recorded_changes(tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 20_000, 2_000)
    with StreamServer(tmp_path / "server") as server:
        agent, viewer = EnrolledAgent(server, "van7", tmp_path), server.create_token()
        with run_agent(agent, server.url, [log_dongle(log, "van7-log")]) as process:
            wait_for_recorded(server, "van7-log", viewer, 1_000)
            process.kill()
        before = recorded_lines(server, "van7-log", viewer)
        with run_agent(agent, server.url, [log_dongle(log, "van7-log", speed="max")]) as process:
            assert process.wait() == 0
        gaps = recorded_gaps(server, "van7-log", viewer)
        assert [gap["where"] for gap in gaps] == ["agent_start", "agent_start"]
        assert {gap["frames"] for gap in gaps} == {None}
        after = recorded_lines(server, "van7-log", viewer)
        # Behind `before` comes what the server had received but not yet written at that moment.
        assert after[: len(before)] == before
        fed = [frame_of(line) for line in log.read_text().splitlines()]
        first_run = len(after) - len(fed)
        assert [frame_of(line) for line in after] == fed[:first_run] + fed


def test_the_oldest_packets_go_when_the_recording_is_too_large_and_are_counted(tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text("[recording]\nmax_bytes = 300000\n")
    log = write_noise(tmp_path / "drive.log", 60_000, 4_000)
    with StreamServer(tmp_path / "server", "--config", config) as server:
        agent, viewer = EnrolledAgent(server, "van7", tmp_path), server.create_token()
        with agent.replay(log, options=["--speed", "max"]) as process:
            assert replay_summary(process).lost == 0

        def books() -> dict[str, int]:
            view: dict[str, int] = server.read_json("/api/v1/dongles/van7-can0", viewer)["recording"]
            return view

        def settled() -> tuple[int, list[str]] | None:
            """What is gone and what is kept, where nothing went between the two looks."""
            before = books()["deleted_frames"]
            kept = recorded_lines(server, "van7-can0", viewer)
            return (before, kept) if before == books()["deleted_frames"] > 0 else None

        found = eventually(settled, "retention")
        assert found is not None
        deleted, kept = found
        assert 0 < len(kept) < 60_000
        assert kept == log.read_text().splitlines()[-len(kept) :]
        assert deleted + len(kept) == 60_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that a test can fill; needs root."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = shutil.which("mount") or "mount"
    options = ["-t", "tmpfs", "-o", "size=3m", "tmpfs", str(path)]
    mounted = subprocess.run([mount, *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a small file system: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_full_disk_stops_acks_is_said_and_costs_nothing(small_disk: Path, tmp_path: Path) -> None:
    log = write_noise(tmp_path / "drive.log", 40_000, 4_000)
    ballast = small_disk / "ballast"
    with StreamServer(small_disk / "server") as server:
        agent, viewer = EnrolledAgent(server, "van7", tmp_path), server.create_token()
        assert readiness(server) == (200, "")
        with replay_through(agent, server.url, log, options=["--speed", "4"]) as process:
            wait_for_recorded(server, "van7-can0", viewer, 1_000)
            fill(ballast)
            eventually(lambda: readiness(server)[0] == 503, "readyz says that storage does not work")
            assert "full" in readiness(server)[1]
            stuck = recorded_frames(server, "van7-can0", viewer)
            assert process.is_running
            assert 0 < stuck < 40_000
            ballast.unlink()
            eventually(lambda: readiness(server)[0] == 200, "storage works again")
            summary = replay_summary(process)
        assert (summary.frames, summary.lost) == (40_000, 0)
        assert recorded_lines(server, "van7-can0", viewer) == log.read_text().splitlines()


def readiness(server: StreamServer) -> tuple[int, str]:
    try:
        server.read("/readyz", "")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["message"]
    return 200, ""


def fill(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return
