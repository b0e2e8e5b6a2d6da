"""Agent and server killed at random: the recording holds every frame once, in order."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from pathlib import Path
from typing import Final

import pytest

from can_stream.frames.batches import SignalBatch
from can_stream.protocol.packet_head import PacketKind
from can_stream.protocol.packets import decode_packet
from tests.helpers.agents import (
    log_dongle,
    recorded_frames,
    recorded_gaps,
    recorded_lines,
    replay_through,
    run_agent,
    wait_for_recorded,
)
from tests.helpers.candump_logs import write_log
from tests.helpers.candump_noise import write_noise
from tests.helpers.metered_proxy import MeteredProxy
from tests.helpers.processes import Argument, EnrolledAgent, StreamServer, replay_summary

# Fifty take a minute and a half, several times that on a busy machine: EXACTLY_ONCE_KILLS=50.
KILLS: Final = int(os.environ.get("EXACTLY_ONCE_KILLS", "15"))
FRAMES: Final = 800 * KILLS
KNOWN_IDS: Final = 256
MESSAGE: Final = 'BO_ {0} M{0}: 8 X\n SG_ S : 0|64@1+ (1,0) [0|0] "" X\n'
_STUCK_SECONDS: Final = 90.0  # it tries again after up to a minute


@pytest.mark.timeout(180 + 12 * KILLS)
def test_a_replay_killed_again_and_again_is_recorded_exactly_once(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    log = write_noise(tmp_path / "drive.log", FRAMES, 4_000)
    database = tmp_path / "some.dbc"
    database.write_text("".join(map(MESSAGE.format, range(KNOWN_IDS))))
    options: list[Argument] = ["--speed", "max", "--flush-seconds", "0.05", "--resume", tmp_path / "place"]
    options += ["--dbc", database]
    with StreamServer(tmp_path / "server") as server, MeteredProxy(server.port, 100_000) as proxy:
        agent = EnrolledAgent(server, "van7", tmp_path)
        token = server.create_token("viewer")
        process = replay_through(agent, proxy.url, log, options=options)
        try:
            for _ in range(KILLS):
                # Somewhere in a greeting, a packet or between two, wherever the bytes lead.
                wanted = proxy.upstream_bytes + chance.randrange(300, 6_000)
                assert proxy.wait_for_upstream(wanted, _STUCK_SECONDS), process.failure("nothing moves")
                assert process.is_running
                victims = chance.choice(("agent", "server", "both"))
                if victims != "agent":
                    server.process.kill()
                if victims != "server":
                    process.close()
                    proxy.cut()
                    process = replay_through(agent, proxy.url, log, options=options)
                if victims != "agent":
                    server.start()
            proxy.bytes_per_second = None
            summary = replay_summary(process)
        finally:
            process.close()
        assert (summary.frames, summary.lost) == (FRAMES, 0)
        assert recorded_lines(server, "van7-can0", token) == log.read_text().splitlines()
        assert [gap["where"] for gap in recorded_gaps(server, "van7-can0", token)] == ["agent_start"]
    known = (line.split()[-1].split("#") for line in log.read_text().splitlines())
    expected = [(int(number, 16), data) for number, data in known if int(number, 16) < KNOWN_IDS]
    assert recorded_values(tmp_path / "server") == expected


def recorded_values(data_dir: Path) -> list[tuple[int, str]]:
    """(signal, value as bytes in hex) of everything in the signals lane of a server that has ended."""
    with contextlib.closing(sqlite3.connect(data_dir / "recording.sqlite3")) as connection:
        rows = connection.execute(
            "select body from packets where kind = ? order by start_pk, seq", (PacketKind.SIGNALS,)
        ).fetchall()
    found: list[tuple[int, str]] = []
    for (body,) in rows:
        values = decode_packet(body).body
        assert isinstance(values, SignalBatch)
        texts = [bits.to_bytes(8, "little").hex().upper() for bits in values.bits.tolist()]
        found += zip(values.signal.tolist(), texts, strict=True)
    return found


def test_what_arrived_live_before_its_backlog_costs_nothing_when_the_agent_is_killed_then(
    tmp_path: Path,
) -> None:
    log = write_log(tmp_path / "drive.log", 16_000, 2_000)
    options: list[Argument] = ["--speed", "2", "--flush-seconds", "0.02", "--resume", tmp_path / "place"]
    with StreamServer(tmp_path / "server") as server, MeteredProxy(server.port) as proxy:
        agent = EnrolledAgent(server, "van7", tmp_path)
        token = server.create_token("viewer")
        with replay_through(agent, proxy.url, log, options=options) as process:
            wait_for_recorded(server, "van7-can0", token, 1_000)
            server.process.kill()
            before = proxy.upstream_bytes
            proxy.bytes_per_second = 4_000
            server.start()
            # Greeting and some packets: live ones go first, and the backlog waits for its turn.
            assert proxy.wait_for_upstream(before + 4_000, _STUCK_SECONDS)
            process.kill()
        proxy.cut()
        proxy.bytes_per_second = None
        with replay_through(agent, proxy.url, log, options=[*options, "--speed", "max"]) as process:
            assert replay_summary(process).lost == 0
        assert recorded_lines(server, "van7-can0", token) == log.read_text().splitlines()


def test_a_running_agent_whose_server_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 40_000, 4_000)
    with StreamServer(tmp_path / "server") as server:
        agent = EnrolledAgent(server, "van7", tmp_path)
        token = server.create_token("viewer")
        with run_agent(agent, server.url, [log_dongle(log, "van7-can0", speed=2)]) as process:
            for part in range(1, 5):
                wait_for_recorded(server, "van7-can0", token, part * 4_000)
                server.process.kill()
                assert recorded_frames(server, "van7-can0", token) == 0
                server.start()
            assert process.wait() == 0
        assert _without_times(recorded_lines(server, "van7-can0", token)) == _without_times(
            log.read_text().splitlines()
        )


def _without_times(lines: list[str]) -> list[str]:
    """A running agent gives the frames of a log times of now, and calls its bus by the log's path."""
    return [line.rpartition(" ")[2] for line in lines]
