"""Signals from an agent to what people see: values, rules, reload, unknown ids, broken databases."""

from __future__ import annotations

import json
import signal
import urllib.error
from pathlib import Path
from typing import Any, Final

from can_stream.databases.loading import load_databases
from can_stream.frames.batches import FrameBatch, concatenate
from can_stream.logs.formats.candump import CandumpParser
from can_stream.signals.evaluate import decode
from tests.helpers.agents import log_dongle, recorded_frames, replay_through, run_agent
from tests.helpers.conditions import eventually
from tests.helpers.console_client import ConsoleClient
from tests.helpers.processes import (
    Argument,
    EnrolledAgent,
    StreamServer,
    installed_command,
    replay_summary,
    run_command,
)

ROOT: Final = Path(__file__).resolve().parents[2]
DATABASE: Final = ROOT / "dbc" / "demo-vehicle.dbc"
BOTH: Final = [str(DATABASE), str(ROOT / "dbc" / "obd2.dbc")]


def drive(path: Path, rounds: int = 3, lead_seconds: float = 0) -> Path:
    """A log of every sample frame of the demo vehicle, 10 ms apart, after a lead with one unknown frame."""
    samples = [json.loads(line) for line in DATABASE.with_suffix(".samples.jsonl").read_text().splitlines()]
    first = 1_766_417_400 + lead_seconds
    lines = [f"({first - lead_seconds:.6f}) can0 7FF#\n"] if lead_seconds else []
    for number, sample in enumerate(samples * rounds):
        lines.append(f"({first + number / 100:.6f}) can0 {sample['id']}#{sample['data_hex']}\n")
    path.write_text("".join(lines))
    return path


def frames_of(log: Path) -> FrameBatch:
    return concatenate([CandumpParser().parse(log.read_bytes()).batch.frames])


def changes_of(log: Path) -> list[tuple[str, str, Any]]:
    """(message, signal, value) of every value that differs from the one before."""
    decoded = decode(load_databases([DATABASE]).table, frames_of(log))
    before: dict[tuple[str, str], Any] = {}
    changes = []
    for row, values in enumerate(decoded.rows()):
        message = decoded.message_name(row)
        for name, value in (values or {}).items():
            assert message is not None
            if before.get((message, name), ()) != value:
                changes.append((message, name, value))
            before[message, name] = value
    return changes


def last_values(server: StreamServer, dongle_id: str, viewer: str) -> dict[tuple[str, str], Any]:
    try:
        view = server.read_json(f"/api/v1/dongles/{dongle_id}/signals", viewer)
    except urllib.error.HTTPError:  # not listed yet
        return {}
    return {(one["message"], one["signal"]): one["value"] for one in view["signals"]}


def service(server: StreamServer, agent_id: str, service_id: str, viewer: str) -> dict[str, Any]:
    listed = server.read_json(f"/api/v1/agents/{agent_id}/services", viewer)["services"]
    return next((one for one in listed if one["agent_service_id"] == service_id), {})


def test_a_drive_gives_the_last_value_of_every_signal(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    log = drive(tmp_path / "drive.log")
    agent = EnrolledAgent(server, "values", tmp_path)
    dongle = {**log_dongle(log, "values-can0", speed="max"), "databases": [str(DATABASE)]}
    with run_agent(agent, server.url, [dongle]) as process:
        assert process.wait() == 0
    expected = {(message, name): value for message, name, value in changes_of(log)}
    assert last_values(server, "values-can0", viewer) == expected
    recorded = server.read("/api/v1/dongles/values-can0/frames?format=jsonl", viewer).decode().splitlines()
    frames = [one for line in recorded if (one := json.loads(line))["type"] == "can_frame"]
    rows = decode(load_databases([DATABASE]).table, frames_of(log)).rows()
    assert [frame["signals"] for frame in frames] == list(rows)


def test_a_dongle_that_sends_no_frames_shows_every_change_once(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    # What is read before the agent is connected is backlog, and not shown.
    log = drive(tmp_path / "drive.log", lead_seconds=5)
    agent = EnrolledAgent(server, "metered", tmp_path)
    report = {"id": "metered-can0", "interface": "log", "channel": str(log), "frames": "off"}
    with run_agent(agent, server.url, [report]) as process:
        eventually(lambda: "streaming" in process.errors, "the first connection")
        process.stop()
    dongle = {**report, "databases": [str(DATABASE)], "options": {"speed": 1.0}}
    with ConsoleClient(server.url, "metered-can0", viewer) as console:
        with run_agent(agent, server.url, [dongle]) as process:
            assert process.wait() == 0
        expected = changes_of(log)

        def shown(events: list[Any]) -> list[tuple[str, str, Any]]:
            values = [event.payload for event in events if event.event == "signals"]
            return [(one["message"], name, value) for one in values for name, value in one["values"].items()]

        console.wait_for(lambda events: len(shown(events)) >= len(expected))
        assert sorted(map(str, shown(console.events))) == sorted(map(str, expected))
        assert not [event for event in console.events if event.event == "can_frame"]
    assert recorded_frames(server, "metered-can0", viewer) == 0


def test_sighup_takes_over_rules_and_databases_and_frames_go_on(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    log = drive(tmp_path / "drive.log", rounds=100)
    agent = EnrolledAgent(server, "reload", tmp_path)
    rules: list[Any] = [{"match": "Engine.*", "send": False}]
    options = {**log_dongle(log, "reload-can0", loop=True), "databases": [str(DATABASE)]}
    with run_agent(agent, server.url, [{**options, "signals": rules}]) as process:
        eventually(lambda: last_values(server, "reload-can0", viewer), "values")
        assert not [one for one in last_values(server, "reload-can0", viewer) if one[0] == "Engine"]
        config = agent.token_file.with_suffix(".toml")
        whole = config.read_text()
        config.write_text(whole.replace("send = false", "send = 7"))
        process.signal(signal.SIGHUP)
        eventually(lambda: "everything stays as it was" in process.errors, "the refusal")
        config.write_text(whole.replace("send = false", "send = true").replace(BOTH[0], '", "'.join(BOTH)))
        hash_before = server.read_json("/api/v1/dongles/reload-can0/signals", viewer)["hash"]
        process.signal(signal.SIGHUP)
        eventually(
            lambda: ("Engine", "EngineSpeed") in last_values(server, "reload-can0", viewer),
            "values of Engine",
        )
        assert server.read_json("/api/v1/dongles/reload-can0/signals", viewer)["hash"] != hash_before
        assert "restart" not in process.errors
        config.write_text(config.read_text().replace("[agent]", "[uplink]\nflush_seconds = 1.0\n[agent]"))
        process.signal(signal.SIGHUP)
        eventually(lambda: "restart" in process.errors, "what needs a restart")
        assert process.is_running


def test_sighup_reads_a_database_again_that_was_changed(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    log = drive(tmp_path / "drive.log", rounds=100)
    agent = EnrolledAgent(server, "edited", tmp_path)
    database = tmp_path / "edited.dbc"
    text = Path(DATABASE).read_text()
    database.write_text(text)
    dongle = {**log_dongle(log, "edited-can0", loop=True), "databases": [str(database)]}
    with run_agent(agent, server.url, [dongle]) as process:
        speed = ("Engine", "EngineSpeed")
        eventually(lambda: speed in last_values(server, "edited-can0", viewer), "values")
        database.write_text(text.replace("EngineSpeed", "CrankshaftSpeed"))
        process.signal(signal.SIGHUP)
        speed = ("Engine", "CrankshaftSpeed")
        eventually(lambda: speed in last_values(server, "edited-can0", viewer), "values by the new name")
        assert "restart" not in process.errors


def test_a_first_database_needs_no_restart_either(server: StreamServer, viewer: str, tmp_path: Path) -> None:
    log = drive(tmp_path / "drive.log", rounds=100)
    agent = EnrolledAgent(server, "late", tmp_path)
    with run_agent(agent, server.url, [log_dongle(log, "late-can0", loop=True)]) as process:
        eventually(lambda: recorded_frames(server, "late-can0", viewer), "frames")
        config = agent.token_file.with_suffix(".toml")
        config.write_text(config.read_text() + f"databases = {json.dumps(BOTH)}\n")
        process.signal(signal.SIGHUP)
        eventually(lambda: last_values(server, "late-can0", viewer), "values")
        assert process.is_running


def test_first_databases_of_a_bus_that_the_kernel_filters_need_a_restart(
    server: StreamServer, tmp_path: Path
) -> None:
    agent = EnrolledAgent(server, "filtered", tmp_path)
    # No such bus: it cannot be opened, but is configured like one that can.
    bus = {"id": "filtered-can9", "channel": "can9", "frame_filters": [{"id": 0x100}]}
    with run_agent(agent, server.url, [bus]) as process:
        eventually(lambda: "streaming" in process.errors, "the first connection")
        config = agent.token_file.with_suffix(".toml")
        config.write_text(config.read_text() + f"databases = {json.dumps(BOTH)}\n")
        process.signal(signal.SIGHUP)
        eventually(lambda: "filtered-can9: its first databases need a restart" in process.errors, "the word")
        assert process.is_running


def test_an_id_that_no_database_knows_is_told_once(server: StreamServer, viewer: str, tmp_path: Path) -> None:
    log = drive(tmp_path / "drive.log", rounds=20)
    with log.open("a") as file:
        for number in range(300):
            file.write(
                f"({1_766_417_500 + number / 100:.6f}) can0 {'18FEDCBA' if number % 2 else '7AA'}#00\n"
            )
    agent = EnrolledAgent(server, "unknown", tmp_path)
    dongle = {**log_dongle(log, "unknown-can0", speed=20.0), "databases": [str(DATABASE)]}
    with run_agent(agent, server.url, [{**dongle, "databases": []}]) as process:
        eventually(lambda: recorded_frames(server, "unknown-can0", viewer), "the dongle")
        process.stop()
    with ConsoleClient(server.url, "unknown-can0", viewer) as console:
        with run_agent(agent, server.url, [dongle]) as process:
            assert process.wait() == 0

        def found(events: list[Any]) -> list[dict[str, Any]]:
            logs = [event.payload for event in events if event.event == "log"]
            return [one["details"] for one in logs if one["details"].get("kind") == "UnknownId"]

        console.wait_for(lambda events: len(found(events)) >= 2)
        assert sorted((one["id"], one["is_extended"]) for one in found(console.events)) == [
            ("0x18FEDCBA", True),
            ("0x7AA", False),
        ]


def test_databases_that_do_not_load_are_named_and_stop_nothing(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    (tmp_path / "broken.kcd").write_text("<not really xml")
    log = drive(tmp_path / "drive.log", rounds=100)
    agent = EnrolledAgent(server, "broken", tmp_path)
    patterns = [str(tmp_path / "*.kcd"), str(DATABASE), str(tmp_path / "missing.sym")]
    dongle = {**log_dongle(log, "broken-can0", loop=True), "databases": patterns}
    with run_agent(agent, server.url, [dongle]):
        eventually(lambda: last_values(server, "broken-can0", viewer), "values of the database that loads")

        def decoder() -> dict[str, Any]:
            return service(server, "broken", "decoder.broken-can0", viewer)

        eventually(lambda: decoder().get("status_code") == 1, "a degraded decoder")
        assert f"{tmp_path / 'broken.kcd'}:1: " in decoder()["message"]
        assert f"no file matches {tmp_path / 'missing.sym'}" in decoder()["message"]


def test_replay_decodes_by_the_databases_it_is_given(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    log = drive(tmp_path / "drive.log")
    agent = EnrolledAgent(server, "replayed", tmp_path)
    options: list[Argument] = ["--dbc", DATABASE, "--speed", "max"]
    with replay_through(agent, server.url, log, options=options) as process:
        assert replay_summary(process).lost == 0
    expected = {(message, name): value for message, name, value in changes_of(log)}
    eventually(lambda: last_values(server, "replayed-can0", viewer) == expected, "the last values")
    printed = run_command([*installed_command("edge-agent"), "replay", log, "--print", *options])
    rows = decode(load_databases([DATABASE]).table, frames_of(log)).rows()
    assert [json.loads(line)["signals"] for line in printed.splitlines()] == list(rows)
