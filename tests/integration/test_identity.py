"""Who an agent is: what is wrong with it is said at once, with the remedy, and costs nothing."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path
from typing import Any, Final

import pytest

from tests.helpers.candump_logs import write_log
from tests.helpers.conditions import eventually
from tests.helpers.processes import (
    Argument,
    EnrolledAgent,
    Process,
    StreamServer,
    installed_command,
    run_command,
)

FRAMES: Final = 50
AT_ONCE_SECONDS: Final = 15.0


def agent_command(*arguments: Argument, stdin: str = "") -> Process:
    return Process([*installed_command("edge-agent"), *arguments], stdin=stdin)


def ended(process: Process) -> str:
    """What a command that must fail says, soon."""
    began_seconds = time.monotonic()
    assert process.wait() not in (0, None)
    assert time.monotonic() - began_seconds < AT_ONCE_SECONDS
    assert "Traceback" not in process.errors
    return process.errors


def summary(process: Process) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(process.output.splitlines()[-1])
    del said["seconds"]
    return said


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "drive.log", FRAMES, 1_000)


def test_a_file_that_names_another_agent_than_the_token_is_refused_by_every_command(
    server: StreamServer, log: Path, tmp_path: Path
) -> None:
    agent = EnrolledAgent(server, "ids-van7", tmp_path)
    path = tmp_path / "agent.toml"
    table = f'[server]\nurl = "{server.url}"\ntoken_file = "{agent.token_file}"\n'
    dongle = f'[[dongles]]\nid = "ids-log"\ninterface = "log"\nchannel = "{log}"\n'
    path.write_text(f'[agent]\nid = "ids-van8"\n{table}{dongle}')
    remedy = 'leave `id` out or set it to "ids-van7", or run `edge-agent enroll --server '
    commands: list[list[Argument]] = [
        ["check-config", path],
        ["run", "--config", path],
        ["doctor", "--config", path],
    ]
    for arguments in commands:
        with agent_command(*arguments) as process:
            said = ended(process) + process.output
            assert remedy in said
            assert f"--token-file FILE --agent-id ids-van8 --out {agent.token_file}`" in said
            assert str(agent.token_file) in said
    path.write_text(table + dongle)
    with agent_command("run", "--config", path) as process:
        assert process.wait() == 0, "the least that works"


def test_a_replay_with_the_token_of_another_agent_ends_and_calls_nothing_lost(
    server: StreamServer, log: Path, tmp_path: Path
) -> None:
    agent = EnrolledAgent(server, "owner", tmp_path)
    bare = tmp_path / "bare"
    bare.write_bytes(agent.token_file.read_bytes())  # nothing beside it says whose it is: the server does
    with agent_command(
        "replay", log, "--server", server.url, "--token-file", bare, "--agent-id", "other", "--speed", "max"
    ) as process:
        said = ended(process)
        assert 'set `--agent-id "owner"`, or run `edge-agent enroll --server ' in said
        assert "[agent]" not in said, "there is no configuration here"
        assert "next attempt" not in said
        assert summary(process)["lost"] == 0
        assert summary(process).get("not_sent", 0) == summary(process)["frames"]
    (printed,) = re.findall(r"`(edge-agent enroll [^`]*)`", said)
    secret = tmp_path / "FILE"
    secret.write_text(server.administer("enroll", "create", "--agent-id", "other"))
    words = [str(secret) if word == "FILE" else word for word in shlex.split(printed)]
    assert run_command([*installed_command("edge-agent"), *words[1:]]) == "other\n"
    with agent_command(
        "replay", log, "--server", server.url, "--token-file", bare, "--agent-id", "other", "--speed", "max"
    ) as process:
        assert process.wait() == 0, "what was printed helps"


def test_a_replay_with_a_token_that_is_void_ends(server: StreamServer, log: Path, tmp_path: Path) -> None:
    void = tmp_path / "void"
    void.write_text("cea_agent_void\n")
    with agent_command("replay", log, "--server", server.url, "--token-file", void) as process:
        assert "refuses this agent's token" in ended(process)


def test_a_replay_to_a_host_that_nobody_knows_ends_and_leaves_no_place_behind(
    log: Path, tmp_path: Path
) -> None:
    token, place = tmp_path / "token", tmp_path / "place"
    token.write_text("cea_agent_any\n")
    arguments: list[Argument] = [
        "--server",
        "https://no-such-host.invalid",
        "--token-file",
        token,
        "--resume",
        place,
    ]
    with agent_command("replay", log, *arguments) as process:
        said = ended(process)
        assert "no-such-host.invalid" in said or "no way to the network" in said
        assert summary(process)["lost"] == 0
    assert not place.exists()


def test_a_token_is_not_spent_where_what_it_buys_cannot_be_stored(
    server: StreamServer, tmp_path: Path
) -> None:
    secret = server.administer("enroll", "create", "--agent-id", "unspent")
    enroll: list[Argument] = ["enroll", "--server", server.url, "--agent-id", "unspent", "--token-file", "-"]
    config = tmp_path / "agent.toml"
    config.write_text("[server]\n")
    (tmp_path / "q.agent-id").mkdir()
    for place in ("/proc/nope/o", "/dev/null", tmp_path, config, tmp_path / "q", tmp_path / ("n" * 240)):
        with agent_command(*enroll, "--out", place, stdin=secret) as process:
            said = ended(process)
            assert str(place) in said
            assert "--out" in said
    assert config.read_text() == "[server]\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["agent.toml", "q.agent-id"]
    printed = run_command(
        [*installed_command("edge-agent"), *enroll, "--out", tmp_path / "token"], stdin=secret
    )
    assert printed == "unspent\n"


def test_an_id_file_that_somebody_has_edited_is_not_believed(
    server: StreamServer, log: Path, tmp_path: Path
) -> None:
    agent = EnrolledAgent(server, "edited", tmp_path)
    beside = tmp_path / f"{agent.token_file.name}.agent-id"
    beside.write_text(beside.read_text().replace("edited", "forged"))
    path = tmp_path / "agent.toml"
    rest = f'[server]\nurl = "{server.url}"\ntoken_file = "{agent.token_file}"\n'
    rest += f'[[dongles]]\nid = "edited-log"\ninterface = "log"\nchannel = "{log}"\n'
    path.write_text(f'[agent]\nid = "forged"\n{rest}')
    with agent_command("run", "--config", path) as process:
        remedy = 'set `id = "edited"` below [agent]'
        eventually(lambda: remedy in process.errors, "the server says whose token it is")
    path.write_text(f'[agent]\nid = "edited"\n{rest}')
    commands: list[list[Argument]] = [["check-config", path], ["run", "--config", path]]
    for arguments in commands:
        with agent_command(*arguments) as process:
            assert process.wait() == 0, "its remedy helps"


def test_enrolling_again_is_enrolling_as_the_same(server: StreamServer, tmp_path: Path) -> None:
    agent = EnrolledAgent(server, "again", tmp_path)
    secret = server.administer("enroll", "create", "--agent-id", "again")
    command = [*installed_command("edge-agent"), "enroll", "--server", server.url, "--token-file", "-"]
    assert run_command([*command, "--out", agent.token_file], stdin=secret) == "again\n"
