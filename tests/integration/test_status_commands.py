"""`edge-agent status` and `edge-agent doctor` as commands, of real agents in every trouble."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers.agents import Dongle, agent_environment, log_dongle, run_agent, wait_for_recorded
from tests.helpers.candump_logs import write_log
from tests.helpers.conditions import eventually
from tests.helpers.lawicel import LawicelAdapter
from tests.helpers.processes import Argument, EnrolledAgent, Process, StreamServer, installed_command


class Said(NamedTuple):
    """What a command said."""

    status: int
    output: str
    errors: str


def ask(directory: Path, *arguments: Argument) -> Said:
    """`edge-agent` with these arguments, where the agents of `directory` are this user's."""
    command = [*installed_command("edge-agent"), *arguments]
    with Process(command, environment=agent_environment(directory)) as process:
        return Said(process.wait(), process.output, process.errors)


def until(directory: Path, *arguments: Argument, shows: str) -> Said:
    """The first answer that has this text in it."""
    last = Said(-1, "", "")

    def look() -> bool:
        nonlocal last
        last = ask(directory, *arguments)
        return shows in last.output + last.errors

    try:
        eventually(look, f"{shows!r} of {arguments}", 60)
    except AssertionError as error:
        raise AssertionError(f"{error}; it says\n{last.output}{last.errors}") from error
    return last


def slcan(path: str, dongle_id: str) -> Dongle:
    return {"id": dongle_id, "interface": "slcan", "channel": path, "bitrate": 500_000}


@contextmanager
def nobody_listens() -> Iterator[str]:
    """A port that is ours and that nobody answers at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_all_is_well(server: StreamServer, viewer: str, tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 3_000, 1_000)
    agent = EnrolledAgent(server, "well", tmp_path)
    with run_agent(agent, server.url, [log_dongle(log, "well-log", loop=True)]) as process:
        wait_for_recorded(server, "well-log", viewer, 100)
        said = ask(tmp_path, "status")
        assert said.status == 0
        assert said.output.startswith("OK: agent well; 0 lost of ")
        assert f"uplink        OK        streaming to {server.url};" in said.output
        document = json.loads(ask(tmp_path, "status", "--config", tmp_path / "well.toml", "--json").output)
        assert document["agent_id"] == "well"
        metrics = ask(tmp_path, "status", "--prometheus", "--socket", tmp_path / "edge-agent" / "well.sock")
        assert 'edge_agent_frames_lost_total{dongle_id="well-log"} 0.0' in metrics.output
        doctor = ask(tmp_path, "doctor", "--config", tmp_path / "well.toml")
        assert doctor.status == 0
        assert doctor.output.startswith("Nothing is wrong. OK: agent well;")
        assert process.stop() == 0
    assert ask(tmp_path, "status").status == 2


def test_no_secret_is_said_anywhere(server: StreamServer, tmp_path: Path) -> None:
    agent = EnrolledAgent(server, "secret", tmp_path)
    token = agent.token_file.read_text().strip()
    config = tmp_path / "secret.toml"
    with run_agent(agent, server.url, [slcan("/dev/nothing", "secret-bus")]) as process:
        texts = [
            *until(tmp_path, "status", "--json", shows='"status":"FAILED"'),
            *ask(tmp_path, "status"),
            *ask(tmp_path, "status", "--prometheus"),
            *ask(tmp_path, "doctor", "--config", config),
        ]
        assert process.stop() == 0
        texts += [process.errors, *ask(tmp_path, "doctor", "--config", config)]
    viewer = server.create_token("admin")
    texts += [server.read("/api/v1/agents/secret/services", viewer).decode()]
    assert all(token not in str(text) for text in texts)


def test_no_agent(tmp_path: Path) -> None:
    said = ask(tmp_path, "status")
    assert said.status == 2
    assert said.output == ""
    assert said.errors.startswith("Error: no agent runs here: start it with ")
    assert ask(tmp_path, "status", "--json", "--prometheus").status == 2
    if not Path("/etc/edge-agent/agent.toml").exists():
        doctor = ask(tmp_path, "doctor")
        assert doctor.status == 1
        assert "say which agent is meant with --config FILE" in doctor.errors


def test_a_killed_agent_and_its_socket_that_the_next_one_takes(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "drive.log", 3_000, 1_000)
    agent = EnrolledAgent(server, "killed", tmp_path)
    dongles = [log_dongle(log, "killed-log", loop=True)]
    with run_agent(agent, server.url, dongles) as process:
        until(tmp_path, "status", shows="OK: agent killed")
        process.kill()
    assert (tmp_path / "edge-agent" / "killed.sock").exists()
    said = ask(tmp_path, "status")
    assert said.status == 2
    assert "has ended without a stop" in said.errors
    doctor = ask(tmp_path, "doctor", "--config", tmp_path / "killed.toml")
    assert doctor.status == 1
    assert "One thing is wrong:\n  1. agent: no agent killed runs here" in doctor.output
    with run_agent(agent, server.url, dongles):
        until(tmp_path, "status", shows="OK: agent killed")


def test_two_agents_are_listed_and_a_twin_is_sent_away(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "drive.log", 3_000, 1_000)
    one, two = EnrolledAgent(server, "one", tmp_path), EnrolledAgent(server, "two", tmp_path)
    with (
        run_agent(one, server.url, [log_dongle(log, "one-log", loop=True)]),
        run_agent(two, server.url, [log_dongle(log, "two-log", loop=True)]),
    ):
        said = until(tmp_path, "status", shows="2 agents run here")
        assert said.status == 2
        for name in ("one", "two"):
            path = tmp_path / "edge-agent" / f"{name}.sock"
            assert f"--socket {path}   agent {name}" in said.errors
            assert f"agent {name}" in ask(tmp_path, "status", "--socket", path).output
        assert "agent one" in ask(tmp_path, "status", "--config", tmp_path / "one.toml").output
        with run_agent(one, server.url, [log_dongle(log, "one-log", loop=True)]) as twin:
            assert twin.wait() == 1
            assert "runs as this agent already" in twin.errors
        assert "agent one" in ask(tmp_path, "status", "--config", tmp_path / "one.toml").output


def test_a_server_that_is_away(server: StreamServer, tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 3_000, 1_000)
    agent = EnrolledAgent(server, "away", tmp_path)
    with nobody_listens() as url, run_agent(agent, url, [log_dongle(log, "away-log", loop=True)]) as process:
        until(tmp_path, "status", shows="FAILED: agent away: uplink")
        said = until(tmp_path, "status", shows="packets wait")  # the first may be there only now
        assert said.status == 1
        doctor = ask(tmp_path, "doctor", "--config", tmp_path / "away.toml")
        assert doctor.status == 1
        assert f"  1. server: {url} cannot be reached (Connection refused): check the port" in doctor.output
        assert doctor.output.count("cannot be reached") == 1
        process.signal(signal.SIGKILL)
        process.wait()
        without = ask(tmp_path, "doctor", "--config", tmp_path / "away.toml").output
        assert f"{url} cannot be reached (Connection refused)" in without


def test_a_name_that_is_not_known(server: StreamServer, tmp_path: Path) -> None:
    agent = EnrolledAgent(server, "nameless", tmp_path)
    with run_agent(agent, "http://stream.invalid", [slcan("/dev/nothing", "nameless-bus")]):
        until(tmp_path, "status", shows="FAILED: agent nameless: uplink")
        doctor = ask(tmp_path, "doctor", "--config", tmp_path / "nameless.toml").output
        # Without any route that is the more fundamental cause.
        assert "the name in http://stream.invalid is not known" in doctor or "no way to the network" in doctor


def test_what_answers_is_no_stream_server(server: StreamServer, tmp_path: Path) -> None:
    agent = EnrolledAgent(server, "astray", tmp_path)
    config = tmp_path / "astray.toml"
    with run_agent(agent, f"{server.url}/nowhere", [slcan("/dev/nothing", "astray-bus")]):
        until(tmp_path, "status", shows="FAILED: agent astray: uplink")
        wanted = f"{server.url}/nowhere is no stream server (HTTP 404, NOT_FOUND: "
        assert wanted in ask(tmp_path, "doctor", "--config", config).output


def test_a_refused_token(server: StreamServer, tmp_path: Path) -> None:
    agent = EnrolledAgent(server, "refused", tmp_path)
    agent.token_file.write_text("cea_agent_" + "A" * 43)
    config = tmp_path / "refused.toml"
    with run_agent(agent, server.url, [slcan("/dev/nothing", "refused-bus")]) as process:
        sentence = f"{server.url} refuses this agent's token (HTTP 401, UNAUTHENTICATED: "
        command = f"edge-agent enroll --server {server.url} --token-file FILE --out {agent.token_file}"
        remedy = f"enrol it again with `{command}`"
        until(tmp_path, "status", shows=sentence)
        running = ask(tmp_path, "doctor", "--config", config)
        assert running.status == 1
        assert f"server: {sentence}" in running.output
        assert remedy in running.output
        process.kill()
    without = ask(tmp_path, "doctor", "--config", config)
    assert f"server: {sentence}" in without.output
    assert remedy in without.output
    agent.token_file.unlink()
    missing = ask(tmp_path, "doctor", "--config", config).output
    assert "no token here: run `edge-agent enroll --server" in missing
    assert "(because of: token)" in missing


def test_a_doctor_leaves_no_trace_at_the_server(server: StreamServer, viewer: str, tmp_path: Path) -> None:
    agent = EnrolledAgent(server, "traceless", tmp_path)
    adapter = LawicelAdapter()
    with run_agent(agent, server.url, [slcan(adapter.path, "traceless-bus")]) as process:
        until(tmp_path, "status", shows="OK: agent traceless")
        process.stop()
    path = "/api/v1/agents/traceless"
    eventually(lambda: not server.read_json(path, viewer)["online"], "it is offline", 60)
    before = server.read_json(path, viewer)
    adapter.commands.clear()
    doctor = ask(tmp_path, "doctor", "--config", tmp_path / "traceless.toml")
    assert "One thing is wrong:\n  1. agent: no agent traceless runs here" in doctor.output
    assert server.read_json(path, viewer) == before
    assert adapter.commands == []
    adapter.unplug()


def test_lines_that_cannot_be_read_are_never_nothing(server: StreamServer, tmp_path: Path) -> None:
    agent = EnrolledAgent(server, "mumbling", tmp_path)
    with LawicelAdapter() as adapter, run_agent(agent, server.url, [slcan(adapter.path, "mumbling-bus")]):
        assert adapter.opened.wait(30)
        adapter.send(b"q1238AABB\r" * 20)
        verdict = until(tmp_path, "status", shows="20 could not be read").output.splitlines()[0]
        assert (
            verdict == "OK: agent mumbling; 0 lost of 0 frames; 20 could not be read and may have been frames"
        )
        doctor = ask(tmp_path, "doctor")
        assert doctor.status == 1
        assert "mumbling-bus: 20 could not be read" in doctor.output
        assert "the newest: `q1238AABB`: check the cable, `options.serial_baudrate`" in doctor.output


def test_interfaces_and_ports_that_are_missing_busy_or_forbidden(
    server: StreamServer, tmp_path: Path
) -> None:
    agent = EnrolledAgent(server, "troubled", tmp_path)
    config = tmp_path / "troubled.toml"
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
    dongles: list[Dongle] = [
        {"id": "troubled-can", "channel": "nocan9"},
        {"id": "troubled-stick", "interface": "slcan", "device_id": "NOSUCH", "bitrate": 500_000},
        slcan("/dev/ttyNOTHING", "troubled-missing"),
        slcan(os.ttyname(theirs), "troubled-busy"),
        {"id": "troubled-word", "interface": "slcann", "channel": "x"},
        log_dongle(tmp_path / "no.log", "troubled-log"),
    ]
    expected = [
        "troubled-missing: /dev/ttyNOTHING is not there: plug it in, or correct `channel`",
        f"troubled-busy: {os.ttyname(theirs)} is in use: stop ",
        "troubled-word: there is no interface 'slcann': did you mean 'slcan'?",
        "troubled-log: ",
        "troubled-stick: the adapter NOSUCH is not there: plug it in",
    ]
    with run_agent(agent, server.url, dongles) as process:
        until(tmp_path, "status", shows="FAILED: agent troubled: bus.troubled-can, bus.troubled-stick, ")
        running = ask(tmp_path, "doctor", "--config", config)
        process.kill()
    without = ask(tmp_path, "doctor", "--config", config)
    for said in (running, without):
        assert said.status == 1
        for text in expected:
            assert text in said.output
        assert "troubled-can: this kernel has no SocketCAN" in said.output or (
            "troubled-can: nocan9 is not there" in said.output
        )
    os.close(ours)
    os.close(theirs)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else_is_told_who_may(server: StreamServer, tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 3_000, 1_000)
    agent = EnrolledAgent(server, "private", tmp_path)
    with run_agent(agent, server.url, [log_dongle(log, "private-log", loop=True)]):
        until(tmp_path, "status", shows="OK: agent private")
        path = tmp_path / "edge-agent" / "private.sock"
        program = (
            "import os; from pathlib import Path; from edge_agent.status.socket import ask_status\n"
            f"os.setuid(65534); ask_status(Path({str(path)!r}))"
        )
        command = [installed_command("edge-agent")[0], "-c", program]
        done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True)
        assert "you may not ask the agent at" in done.stderr
        assert "with sudo" in done.stderr


def test_a_broken_configuration(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('[server]\nurl = "ftp://x"\n[[dongles]]\nchannel = "can0"\nbitrat = 5\n')
    said = ask(tmp_path, "doctor", "--config", config)
    assert said.status == 1
    assert said.output.startswith("2 things are wrong")
    assert "server.url: must be like https://" in said.output
    assert "dongles[0].bitrat: unknown key, did you mean `bitrate`?" in said.output
    assert ask(tmp_path, "status", "--config", config).status == 1


def test_a_silent_bus_is_a_note(server: StreamServer, tmp_path: Path) -> None:
    agent = EnrolledAgent(server, "silent", tmp_path)
    with LawicelAdapter() as adapter, run_agent(agent, server.url, [slcan(adapter.path, "silent-bus")]):
        until(tmp_path, "status", shows="OK: agent silent")
        assert "0.0 frames/s, no frame yet" in ask(tmp_path, "status").output
        said = until(
            tmp_path, "doctor", "--config", tmp_path / "silent.toml", shows="note silent-bus: no frame"
        )
        assert said.status == 0
        assert "the bus may be asleep" in said.output
