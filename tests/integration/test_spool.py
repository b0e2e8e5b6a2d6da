"""The agent's spool with real processes: outages, kills, full and damaged disks."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.helpers.agents import (
    agent_environment,
    recorded_frames,
    recorded_gaps,
    recorded_lines,
    replay_through,
    run_agent,
    status_of,
    wait_for_recorded,
)
from tests.helpers.conditions import eventually
from tests.helpers.console_client import ConsoleClient
from tests.helpers.counting_bus import CountingBus, numbers_in
from tests.helpers.memory import resident
from tests.helpers.processes import EnrolledAgent, Process, StreamServer, installed_command

DONGLE: Final = "van7-can0"
# The figures of the requirements take minutes: SPOOL_OUTAGE_FRAMES=2400000, SPOOL_SERVER_KILLS=20,
# SPOOL_AGENT_KILLS=100.
OUTAGE_FRAMES: Final = int(os.environ.get("SPOOL_OUTAGE_FRAMES", "60000"))
SERVER_KILLS: Final = int(os.environ.get("SPOOL_SERVER_KILLS", "3"))
AGENT_KILLS: Final = int(os.environ.get("SPOOL_AGENT_KILLS", "10"))
FAST_FRAMES_PER_SECOND: Final = 15_000
LIVE_FRAMES_PER_SECOND: Final = 100  # fewer than a console shows, so that it leaves none out
LATEST_SECONDS: Final = 1.0
# What it may lose by a kill; more than the default, so that a busy machine is no finding.
FLUSH_SECONDS: Final = 1.0


class Gateway:
    """A server, a bus that counts, and an agent that can be started again and again."""

    def __init__(self, server: StreamServer, bus: CountingBus, directory: Path) -> None:
        self.server, self.bus = server, bus
        self.agent = EnrolledAgent(server, "van7", directory)
        self.token = server.create_token("viewer")
        self.spool = directory / "van7.spool"
        self._starts = 0

    def start(self, uplink: Mapping[str, Any] | None = None, **spool: Any) -> Process:
        """The agent; it reads the bus."""
        self._starts += 1
        dongles = [self.bus.dongle(DONGLE)]
        process = run_agent(self.agent, self.server.url, dongles, uplink=uplink, spool=spool)
        self.bus.wait_until_open(self._starts)
        # What comes before the adapter's answer to that is no part of the bus.
        eventually(lambda: "reading slcan" in process.errors, "the bus is read")
        return process

    def wait_for(self, frames: int, timeout_seconds: float = 120.0) -> None:
        """So many are recorded."""
        wait_for_recorded(self.server, DONGLE, self.token, frames, timeout_seconds)

    @property
    def recorded(self) -> list[int]:
        """The numbers of the recorded frames."""
        return numbers_in(recorded_lines(self.server, DONGLE, self.token))

    def gaps(self, where: str) -> list[dict[str, Any]]:
        """Of this kind."""
        return [gap for gap in recorded_gaps(self.server, DONGLE, self.token) if gap["where"] == where]


@contextmanager
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with StreamServer(tmp_path / "server") as server, CountingBus() as bus:
        yield Gateway(server, bus, tmp_path)


def send_steadily(bus: CountingBus, frames: int) -> None:
    """As fast as an agent on a slow machine reads, so that none is lost before it is a packet."""
    for _ in range(0, frames, FAST_FRAMES_PER_SECOND // 10):
        bus.send(min(FAST_FRAMES_PER_SECOND // 10, frames))
        time.sleep(0.1)


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


def newest_shown(client: ConsoleClient) -> int:
    """The highest number of a frame that the console has shown."""
    shown = [event.payload for event in client.events if event.event == "can_frame"]
    return max((int(frame["data_hex"].replace(" ", "")[:8], 16) for frame in shown), default=-1)


def lateness_seconds(bus: CountingBus, client: ConsoleClient) -> float:
    """How long a frame that is sent now takes until the console has shown it, or a later one."""
    sent, begun = bus.sent, time.monotonic()
    eventually(lambda: newest_shown(client) >= sent, "a live frame is shown")
    return time.monotonic() - begun


@pytest.mark.timeout(300 + OUTAGE_FRAMES // 2_000)
def test_a_long_outage_costs_nothing_and_live_goes_before_what_it_left(tmp_path: Path) -> None:
    with gateway(tmp_path) as one, one.start() as process:
        one.bus.send(1000)
        one.wait_for(1000)
        before = resident(process.pid).now
        one.server.process.kill()
        send_steadily(one.bus, OUTAGE_FRAMES)
        growth = resident(process.pid).now - before
        one.server.start()
        one.bus.frames_per_second = LIVE_FRAMES_PER_SECOND
        one.wait_for(1001)
        late = []
        with ConsoleClient(one.server.url, DONGLE, one.token) as client:
            while recorded_frames(one.server, DONGLE, one.token) < OUTAGE_FRAMES:
                late.append(lateness_seconds(one.bus, client))
        sent = one.bus.pause()
        one.wait_for(sent)
        assert max(late, default=0.0) < LATEST_SECONDS
        assert one.recorded == list(range(sent))
        assert [gap["where"] for gap in recorded_gaps(one.server, DONGLE, one.token)] == ["agent_start"]
    assert growth < 4_000_000


@pytest.mark.timeout(180 + 75 * SERVER_KILLS)
def test_a_server_killed_while_the_agent_catches_up_has_all_in_the_end(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    with gateway(tmp_path) as one, one.start() as process:
        one.bus.send(1000)
        one.wait_for(1000)
        one.server.process.kill()
        send_steadily(one.bus, OUTAGE_FRAMES)
        one.bus.frames_per_second = LIVE_FRAMES_PER_SECOND
        for _ in range(SERVER_KILLS):
            one.server.start()
            process.signal(signal.SIGHUP)  # it tries at once; by itself it would after up to a minute
            at_once = recorded_frames(one.server, DONGLE, one.token)
            one.wait_for(at_once + chance.randrange(1, OUTAGE_FRAMES // SERVER_KILLS // 2))
            one.server.process.kill()
        one.server.start()
        process.signal(signal.SIGHUP)
        one.wait_for(OUTAGE_FRAMES)
        sent = one.bus.pause()
        one.wait_for(sent)
        assert one.recorded == list(range(sent))


@pytest.mark.timeout(120 + 15 * AGENT_KILLS)
def test_an_agent_killed_again_and_again_loses_no_more_than_it_may(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    with gateway(tmp_path) as one:
        must: list[tuple[int, int]] = []
        for kill in range(AGENT_KILLS):
            with one.start(flush_seconds=FLUSH_SECONDS) as process:
                begin = one.bus.sent
                if kill % 2:
                    one.server.process.kill()
                one.bus.frames_per_second = 2_000
                time.sleep(chance.uniform(1.2, 2.5))  # how long it lives is what is drawn here
                safe = one.bus.sent
                time.sleep(FLUSH_SECONDS)
                process.kill()
                one.bus.pause()
            must.append((begin, safe))
            if kill % 2:
                one.server.start()
        with one.start() as process:
            one.bus.send(10)
            due = {number for begin, end in must for number in (begin, end - 1)} | {one.bus.sent - 1}
            eventually(lambda: due.issubset(one.recorded), "what was on disk is recorded", 60.0)
            assert process.stop() == 0
        recorded = one.recorded
        assert recorded == sorted(set(recorded)), "twice, or out of order"
        missing = set(range(one.bus.sent)).difference(recorded)
        assert [number for begin, end in must for number in range(begin, end) if number in missing] == []


def test_a_clean_stop_without_a_server_loses_nothing(tmp_path: Path) -> None:
    with gateway(tmp_path) as one:
        with one.start() as process:
            one.bus.send(100)
            one.wait_for(100)
            one.server.process.kill()
            one.bus.send(3_000)
            assert process.stop() == 0
            assert "lost" not in process.errors.replace("the connection is lost", "")
            waiting = frames_kept(process)
        one.server.start()
        hand_over_all(one)
        recorded = one.recorded
        assert recorded == list(range(len(recorded)))
        assert len(recorded) >= max(100, waiting)


def frames_on_disk(one: Gateway) -> int:
    """As the agent that runs says it."""
    return int(status_of(one.agent).metric("spool", "frames"))


def hand_over_all(one: Gateway, **spool: Any) -> None:
    """Agents run until one leaves nothing on disk."""
    for _ in range(10):
        with one.start(**spool) as process:
            eventually(lambda: "uplink: streaming" in process.errors, "it is connected")
            assert process.stop() == 0
            if "wait in /" not in process.errors:
                return
    raise AssertionError("there is always something left")


def frames_kept(process: Process) -> int:
    """How many an agent that has stopped left on disk; what it had not read by then is none of them."""
    found = re.search(r"(\d+) frames and values wait in ", process.errors)
    assert found
    return int(found[1])


def test_what_is_acknowledged_in_time_is_never_written(tmp_path: Path) -> None:
    with gateway(tmp_path) as one, one.start(flush_seconds=5, sync_seconds=10) as process:
        one.bus.frames_per_second = 1_000
        one.wait_for(1_000)
        before = [(path.name, path.stat()) for path in sorted(one.spool.iterdir())]
        written = written_bytes(process)
        one.wait_for(one.bus.sent + 6_000)  # longer than anything may wait for its ack
        after = [(path.name, path.stat()) for path in sorted(one.spool.iterdir())]
        seen = [[(name, stat.st_size, stat.st_mtime_ns) for name, stat in files] for files in (before, after)]
        assert seen[0] == seen[1]
        assert written_bytes(process) == written


def written_bytes(process: Process) -> int:
    """What the process has given to storage (proc(5)); the kernel of a container may not say."""
    found = re.search(r"^write_bytes: (\d+)$", Path(f"/proc/{process.pid}/io").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def test_a_small_spool_stays_within_its_bound_and_says_what_it_let_go(tmp_path: Path) -> None:
    bound = 1_000_000
    with gateway(tmp_path) as one, one.start(max_bytes=bound) as process:
        one.server.process.kill()
        largest = 0
        chance = random.Random(1)
        for _ in range(120):  # what no compressor makes small
            one.bus.send(1_000, chance)
            time.sleep(0.05)  # a packet that is too large for such a small spool would be a gap of its own
            largest = max(largest, size_of(one.spool))
        assert largest <= bound
        one.server.start()
        one.bus.frames_per_second = 100
        one.wait_for(1)
        sent = one.bus.pause()

        def all_accounted_for() -> bool:
            let_go = sum(int(gap["frames"]) for gap in one.gaps("agent_spool"))
            return len(one.recorded) + let_go == sent

        eventually(all_accounted_for, "every frame is recorded or in the gap, which may come last", 60.0)
        gaps = one.gaps("agent_spool")
        assert len(gaps) == 1
        recorded = one.recorded
        assert recorded == list(range(sent - len(recorded), sent))
        text = one.server.read(f"/api/v1/dongles/{DONGLE}/frames?format=jsonl", one.token).decode()
        stamps = [json.loads(line)["ts"] for line in text.splitlines() if '"can_frame"' in line]
        assert all(gap["from"] <= gap["to"] <= stamps[0] for gap in gaps)
        assert process.is_running


def test_a_full_disk_leaves_the_agent_live_and_is_named(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    chance = random.Random(1)
    with small_disk(disk), gateway(tmp_path) as one:
        filler = disk / "filler"
        with one.start(directory=str(disk / "spool"), reserve_bytes=0) as process:
            filler.write_bytes(bytes(400_000))
            with pytest.raises(OSError, match="No space left"):
                filler.write_bytes(bytes(2_000_000))
            one.server.process.kill()
            one.bus.send(2_000, chance)
            eventually(lambda: "the disk is full: free some space" in process.errors, "it is said")
            one.server.start()
            one.wait_for(2_000)
            filler.unlink()
            said = process.errors.count("spool: keeps what waits")
            eventually(lambda: process.errors.count("spool: keeps what waits") > said, "it works again")
            one.server.process.kill()
            one.bus.send(2_000, chance)
            assert process.stop() == 0
            waiting = frames_kept(process)
        one.server.start()
        hand_over_all(one, directory=str(disk / "spool"))
        recorded = one.recorded
        assert recorded == list(range(len(recorded)))
        assert len(recorded) >= max(2_000, waiting)


def test_a_disk_that_the_spool_itself_has_filled_is_emptied_by_sending(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    chance = random.Random(2)
    with (
        small_disk(disk),
        gateway(tmp_path) as one,
        one.start(directory=str(disk / "spool"), reserve_bytes=0) as process,
    ):
        one.server.process.kill()
        while "the disk is full: free some space" not in process.errors:
            one.bus.send(5_000, chance)
        one.bus.send(5_000, chance)
        one.server.start()
        one.wait_for(one.bus.sent)
        assert one.recorded == list(range(one.bus.sent))
        assert [gap["frames"] for gap in recorded_gaps(one.server, DONGLE, one.token)] == [None]


@contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """A file system of 1 MB, where this user may make one."""
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(directory)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_a_second_run_of_the_same_agent_ends_at_once_and_takes_nothing(tmp_path: Path) -> None:
    with gateway(tmp_path) as one, one.start() as first:
        one.bus.send(500)
        one.server.stop()
        one.bus.send(500)
        with run_agent(one.agent, one.server.url, [one.bus.dongle(DONGLE)]) as second:
            assert second.wait() == 1
        assert f"agent van7: process {first.pid} runs as this agent already" in second.errors
        one.server.start()
        one.wait_for(1_000)
        assert one.recorded == list(range(1_000))
        assert [gap["frames"] for gap in recorded_gaps(one.server, DONGLE, one.token)] == [None]


@pytest.mark.parametrize("how", ["another runtime directory", "its lock is deleted"])
def test_a_second_run_that_does_not_see_the_lock_is_refused_all_the_same(tmp_path: Path, how: str) -> None:
    with gateway(tmp_path) as one, one.start() as first:
        environment = agent_environment(tmp_path)
        if how == "another runtime directory":
            environment |= {"XDG_RUNTIME_DIR": str(tmp_path / "elsewhere")}
        else:
            (tmp_path / "edge-agent" / "van7.lock").unlink()
        command = [*installed_command("edge-agent"), "run", "--config", tmp_path / "van7.toml"]
        with Process(command, environment=environment) as second:
            assert second.wait() == 1
        assert f"agent van7: process {first.pid} runs as this agent already" in second.errors
        one.bus.send(100)
        one.wait_for(100)
        assert one.recorded == list(range(100))


def test_who_waits_for_its_turn_outlives_a_reload_and_goes_on(tmp_path: Path) -> None:
    with gateway(tmp_path) as one, one.start() as first:
        one.bus.send(100)
        one.wait_for(100)
        command = [*installed_command("edge-agent"), "run", "--wait", "--config", tmp_path / "van7.toml"]
        with Process(command, environment=agent_environment(tmp_path)) as second:
            eventually(lambda: "waiting until it ends" in second.errors, "it waits")
            os.kill(second.pid, signal.SIGHUP)
            assert first.stop() == 0
            eventually(lambda: "reading slcan" in second.errors, "its turn has come")
            one.bus.send(100)
            one.wait_for(200)
        assert one.recorded == list(range(200))


def test_a_replay_is_not_the_agent_that_runs(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    log.write_text("(1.0) can0 123#00\n")
    with gateway(tmp_path) as one, one.start() as first:
        with replay_through(
            one.agent, one.server.url, log, environment=agent_environment(tmp_path)
        ) as replay:
            assert replay.wait() == 1
        assert f"process {first.pid} runs as this agent already" in replay.errors
        one.bus.send(100)
        one.wait_for(100)
        assert one.recorded == list(range(100))


def test_a_spool_that_somebody_else_has_is_waited_for(tmp_path: Path) -> None:
    with gateway(tmp_path) as one:
        one.server.stop()
        with one.start() as process:
            one.bus.send(2_000)
            eventually(lambda: frames_on_disk(one) == 2_000, "all are on disk")
            process.kill()
        other = sqlite3.connect(one.spool / "spool.sqlite3", isolation_level=None)
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        one.server.start()
        with one.start() as process:
            one.bus.send(100)
            eventually(lambda: "the server is told of what is new alone" in process.errors, "it is said")
            one.wait_for(100)  # what is new is not held up
            assert one.recorded == list(range(2_000, 2_100))
            other.execute("ROLLBACK")
            other.close()
            one.wait_for(2_100)
            # A start stands where it was heard of first.
            assert one.recorded == [*range(2_000, 2_100), *range(2_000)]
            assert [gap["frames"] for gap in recorded_gaps(one.server, DONGLE, one.token)] == [None, None]


def test_a_damaged_file_is_set_aside_and_a_second_agent_told_off(tmp_path: Path) -> None:
    with gateway(tmp_path) as one, CountingBus() as other_bus:
        one.spool.mkdir()
        (one.spool / "spool.sqlite3").write_bytes(b"this is no database at all" * 100)
        with one.start() as process:
            (old,) = one.spool.glob("unreadable-*.sqlite3")
            assert old.name in process.errors
            other = EnrolledAgent(one.server, "van8", tmp_path)
            dongle = other_bus.dongle("van8-can0")
            with run_agent(other, one.server.url, [dongle], spool={"directory": str(one.spool)}) as second:
                other_bus.wait_until_open()
                eventually(lambda: "another agent uses this spool" in second.errors, "it is said")
                other_bus.send(100)
                one.bus.send(100)
                one.wait_for(100)
                process.stop()
                wait_for_recorded(one.server, "van8-can0", one.token, 100)


def test_what_is_gathered_for_long_is_on_disk_before_it_is_a_packet(tmp_path: Path) -> None:
    flush_seconds = 8
    with gateway(tmp_path) as one:
        with one.start(uplink={"flush_seconds": flush_seconds}) as process:
            # Batches end where this clock passes a multiple of `flush_seconds`, in the agent too; the first
            # frame after that goes at once, and what follows it waits.
            eventually(lambda: time.monotonic() % flush_seconds < 1, "a batch would just have ended")
            one.bus.send(1)
            one.wait_for(1)
            one.bus.send(500)
            eventually(lambda: frames_on_disk(one) == 500, "what is gathered is on disk")
            assert recorded_frames(one.server, DONGLE, one.token) == 1
            process.kill()
        with one.start():
            one.wait_for(501)
        assert one.recorded == list(range(501))
