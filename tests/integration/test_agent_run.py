"""`edge-agent run` against a real server: buses, stops, refusals, outages, two with one token."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import can
import pytest

from tests.helpers.agents import (
    RegisteredAgent,
    agent_configuration,
    agent_environment,
    log_dongle,
    recorded_frames,
    recorded_gaps,
    recorded_lines,
    run_agent,
    wait_for_recorded,
)
from tests.helpers.candump_logs import write_log
from tests.helpers.conditions import eventually
from tests.helpers.console_client import ConsoleClient
from tests.helpers.lanes import require_lane
from tests.helpers.lawicel import LawicelAdapter
from tests.helpers.processes import ENVIRONMENT, EnrolledAgent, Process, StreamServer, installed_command


@pytest.fixture(scope="module")
def viewer(server: StreamServer) -> str:
    return server.create_token("admin")


def frames_of(lines: list[str]) -> list[str]:
    """Without times and bus: a running agent stamps the frames of a log anew."""
    return [line.rpartition(" ")[2] for line in lines]


def said(process: Process, text: str) -> None:
    """The process has written this to standard error."""
    eventually(lambda: text in process.errors or not process.is_running, f"{text!r} on standard error")
    assert text in process.errors, process.failure(f"it did not say {text!r}")


def test_a_log_is_played_to_its_end_and_the_agent_ends_well(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "drive.log", 3_000, 3_000)
    agent = EnrolledAgent(server, "played", tmp_path)
    with run_agent(agent, server.url, [log_dongle(log, "played-log")]) as process:
        assert process.wait() == 0
    assert frames_of(recorded_lines(server, "played-log", viewer)) == frames_of(log.read_text().splitlines())


def test_a_log_as_fast_as_possible_loses_nothing(server: StreamServer, viewer: str, tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 300_000, 3_000)
    agent = EnrolledAgent(server, "hasty", tmp_path)
    dongles = [log_dongle(log, "hasty-log", speed="max")]
    with run_agent(agent, server.url, dongles, uplink={"window_bytes": 65_536}) as process:
        assert process.wait() == 0
    assert recorded_frames(server, "hasty-log", viewer) == 300_000
    assert [gap["where"] for gap in recorded_gaps(server, "hasty-log", viewer)] == ["agent_start"]


def test_a_clean_stop_loses_nothing(server: StreamServer, viewer: str, tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 60_000, 4_000)
    agent = EnrolledAgent(server, "stopped", tmp_path)
    dongles = [log_dongle(log, "stopped-log")]
    with run_agent(agent, server.url, dongles, uplink={"flush_seconds": 1.0}) as process:
        wait_for_recorded(server, "stopped-log", viewer, 1_000)
        before = recorded_frames(server, "stopped-log", viewer)
        assert process.stop() == 0
        assert "lost" not in process.errors
    recorded = frames_of(recorded_lines(server, "stopped-log", viewer))
    assert len(recorded) > before
    assert recorded == frames_of(log.read_text().splitlines())[: len(recorded)]
    assert [gap["where"] for gap in recorded_gaps(server, "stopped-log", viewer)] == ["agent_start"]


def test_an_agent_that_starts_before_its_server_loses_nothing(tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 4_000, 2_000)
    with StreamServer(tmp_path / "server") as server:
        agent = EnrolledAgent(server, "early", tmp_path)
        viewer = server.create_token()
        server.stop()
        with run_agent(agent, server.url, [log_dongle(log, "early-log")]) as process:
            said(process, "cannot be reached (Connection refused): check the port")
            server.start()
            assert process.wait() == 0
        wanted = frames_of(log.read_text().splitlines())
        assert frames_of(recorded_lines(server, "early-log", viewer)) == wanted


def test_a_wrong_token_is_said_with_the_remedy(server: StreamServer, tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 100, 100)
    agent = EnrolledAgent(server, "stranger", tmp_path)
    forged = tmp_path / "forged.token"
    forged.write_text("cea_agent_" + "A" * 43)
    forged.chmod(0o600)
    with run_agent(agent, server.url, [log_dongle(log, "stranger-log")], token_file=forged) as process:
        said(process, "reading the log")
        said(process, "refuses this agent's token (HTTP 401, UNAUTHENTICATED: ")
        assert "A" * 43 not in process.errors
        assert process.stop() == 0
        assert "frames were not sent, and are in the log still" in process.errors


def test_two_agents_with_one_token_are_told_apart_from_one(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "drive.log", 8_000, 100)
    agent = EnrolledAgent(server, "twin", tmp_path)
    (tmp_path / "another-machine").mkdir()
    twin = RegisteredAgent("twin", tmp_path / "another-machine" / "twin.token")
    shutil.copy(agent.token_file, twin.token_file)
    with run_agent(agent, server.url, [log_dongle(log, "twin-log")]) as first:
        wait_for_recorded(server, "twin-log", viewer, 50)
        with (
            ConsoleClient(server.url, "twin-log", viewer) as console,
            run_agent(twin, server.url, [log_dongle(log, "twin-log")]) as second,
        ):
            said(first, "replaced by a newer connection")
            told = console.wait_for(lambda events: [e for e in events if "duplicate" in str(e.payload)])
            assert told[0].event == "log"
            assert told[0].payload["level"] == "error"
            assert first.is_running
            assert second.is_running
    records = server.read_json("/api/v1/audit", viewer)["records"]
    assert ("agent.duplicate_identity", "agent:twin") in {(one["action"], one["subject"]) for one in records}


def test_a_dongle_of_another_agent_is_refused_with_its_name(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "drive.log", 1_000, 1_000)
    owner, thief = EnrolledAgent(server, "owner", tmp_path), EnrolledAgent(server, "thief", tmp_path)
    with run_agent(owner, server.url, [log_dongle(log, "prize")]) as process:
        assert process.wait() == 0
    with run_agent(thief, server.url, [log_dongle(log, "prize")]) as process:
        said(process, "DONGLE_CONFLICT")
        assert "prize" in process.errors
    assert recorded_frames(server, "prize", viewer) == 1_000


def test_frames_of_a_bus_of_python_can_are_recorded(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    missing = importlib.util.find_spec("msgpack") is None
    require_lane("integration", not missing, "msgpack is missing: `pip install --group dev`")
    agent = EnrolledAgent(server, "multicast", tmp_path)
    group = f"239.74.{uuid.uuid4().int % 250 + 1}.{os.getpid() % 250 + 1}"
    port = 20_000 + os.getpid() % 10_000  # whoever has the usual one hears all groups on it
    dongle = {
        "id": "multicast-bus",
        "interface": "udp_multicast",
        "channel": group,
        "mode": "normal",
        "fd": True,
        "options": {"port": port},
    }
    with run_agent(agent, server.url, [dongle]) as process:
        said(process, "reading")
        with can.Bus(group, "udp_multicast", port=port, fd=True, ignore_config=True) as bus:
            for number in range(400):
                data = number.to_bytes(2, "big") * (1 if number % 2 else 8)
                extended, is_fd = number % 3 == 0, len(data) > 8
                bus.send(can.Message(arbitration_id=number, is_extended_id=extended, data=data, is_fd=is_fd))
                if number % 40 == 39:  # more at once, and UDP itself would lose some
                    wait_for_recorded(server, "multicast-bus", viewer, number + 1)
        assert process.stop() == 0
    lines = frames_of(recorded_lines(server, "multicast-bus", viewer))
    assert len(lines) == 400
    assert [int(line.partition("#")[0], 16) for line in lines] == list(range(400))
    assert lines[0] == "00000000##0" + "0000" * 8
    assert lines[1] == "001#0001"


def test_a_serial_adapter_streams_survives_garbage_and_says_when_it_is_gone(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    agent, adapter = EnrolledAgent(server, "serial", tmp_path), LawicelAdapter()
    dongle = {"id": "serial-bus", "interface": "slcan", "channel": adapter.path, "bitrate": 500_000}
    with run_agent(agent, server.url, [dongle]) as process:
        assert adapter.opened.wait(20), process.failure("the adapter was not opened")
        said(process, "reading")
        adapter.send(b"t1232AABB\r" + b"\x07garbage\r\xfftXYZ\r" + b"T18DAF1101CC\r\n" + b"r1234\r")
        wait_for_recorded(server, "serial-bus", viewer, 3)
        adapter.unplug()
        said(process, "serial-bus: reading slcan")
        said(process, " failed: ")
        assert process.is_running
        assert process.stop() == 0
    lines = frames_of(recorded_lines(server, "serial-bus", viewer))
    assert lines == ["123#AABB", "18DAF110#CC", "123#R4"]


def test_an_agent_whose_standard_error_is_closed_streams(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "drive.log", 300, 300)
    agent = EnrolledAgent(server, "quiet", tmp_path)
    target = {"url": server.url, "token_file": str(agent.token_file)}
    config = tmp_path / "quiet.toml"
    config.write_text(agent_configuration("quiet", target, [log_dongle(log, "quiet-log")]))
    command = map(str, [*installed_command("edge-agent"), "run", "--config", config])
    environment = {**ENVIRONMENT, **agent_environment(tmp_path)}
    subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *command], env=environment, timeout=60, check=True)
    assert recorded_frames(server, "quiet-log", viewer) == 300


def test_an_agent_whose_log_nobody_reads_streams(server: StreamServer, viewer: str, tmp_path: Path) -> None:
    """As where whatever collects logs is stuck: the pipe is full from the beginning."""
    log = write_log(tmp_path / "drive.log", 300, 300)
    agent = EnrolledAgent(server, "unread", tmp_path)
    target = {"url": server.url, "token_file": str(agent.token_file)}
    config = tmp_path / "unread.toml"
    config.write_text(agent_configuration("unread", target, [log_dongle(log, "unread-log")]))
    command = [*installed_command("edge-agent"), "run", "--config", config]
    reading, writing = os.pipe()
    try:
        os.write(writing, bytes(fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)))
        environment = {**ENVIRONMENT, **agent_environment(tmp_path)}
        subprocess.run(
            [str(word) for word in command], env=environment, stderr=writing, timeout=60, check=True
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert recorded_frames(server, "unread-log", viewer) == 300


def test_a_gate_on_a_signal_that_no_database_has_ends_the_agent_at_its_start(
    server: StreamServer, tmp_path: Path
) -> None:
    agent = EnrolledAgent(server, "gated", tmp_path)
    database = Path(__file__).parents[2] / "dbc" / "demo-vehicle.dbc"
    place = {"id": "gated-can0", "interface": "virtual", "channel": "gated", "mode": "normal"}
    dongle = {**place, "bitrate": 500_000, "databases": [str(database)]}
    relay = {"transmit": "all", "max_age_seconds": 1}
    wrong = {**relay, "gate": [{"signal": "Engine.VehicleSped", "max": 0}]}
    with run_agent(agent, server.url, [dongle], relay=wrong) as process:
        assert process.wait() == 1
        said(process, "relay.gate[0].signal: is Engine.VehicleSped, which no database of gated-can0 has")
        said(process, "do you mean Engine.VehicleSpeed")
        assert "Traceback" not in process.errors
    right = {**relay, "gate": [{"signal": "Engine.VehicleSpeed", "max": 0}]}
    with run_agent(agent, server.url, [dongle], relay=right) as process:
        said(process, "uplink: streaming to")
        assert process.is_running
