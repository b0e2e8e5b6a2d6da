"""Every example of every command's help, run as it stands there, beside a server and an agent that run."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from scripts import demo_drive
from tests.helpers.agents import (
    agent_configuration,
    agent_environment,
    log_dongle,
    run_agent,
    wait_for_recorded,
)
from tests.helpers.processes import EnrolledAgent, Process, StreamServer, installed_command, run_command
from tests.helpers.programs import PROGRAMS

ROOT: Final = Path(__file__).resolve().parents[2]
# The address and the port of an example are somebody's; all else is run to the letter.
SOMEBODYS: Final = "https://stream.example.com"
PORT: Final = "--port 8081"
# A group may have the example of its only command.
EXAMPLES: Final = {
    example: name
    for program in PROGRAMS
    for name, row in program.listed.items()
    for example in row.examples
    if "stream-server run" not in example
}
# These say how things stand, with exit status 1 where not all is well, or where there is nothing to stop; the
# machine of a test is as it is. The helper is started by systemd alone, and says so (tests/vm/guest).
JUDGING: Final = {
    "books", "can-helper", "doctor", "dongles", "install", "relay", "relay start", "relay stop", "status",
}  # fmt: skip


class Desk(NamedTuple):
    """Where the examples are tried: `files` are those they name."""

    files: Path
    server: StreamServer
    environment: dict[str, str]


@pytest.fixture(scope="module")
def desk(server: StreamServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    files, state = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("state")
    (files / "drive.log").write_text("".join(list(demo_drive.lines())[:2000]))
    shutil.copy(ROOT / "dbc" / "demo-vehicle.dbc", files / "van.dbc")
    (files / "server.toml").write_text("[server]\nport = 8081\n")
    (files / "enrolment-token").write_text(server.administer("enroll", "create", "--uses", 9))
    assert server.administer("token", "create", "--role", "viewer", "--name", "to be revoked")
    token = server.create_token()
    once = EnrolledAgent(server, "van10", state)
    EnrolledAgent(server, "van11", state)
    dongle = log_dongle(files / "drive.log", "van10-can0", speed="max")
    section = {"url": server.url, "token_file": str(once.token_file)}
    text = agent_configuration("van10", section, [dongle], spool={"directory": str(state / "spool")})
    (files / "agent.toml").write_text(text)
    scripts = Path(str(installed_command("edge-agent")[1])).parent
    environment = agent_environment(state) | {
        "STREAM_SERVER_DATA_DIR": str(server.data_dir),
        "HOME": str(state),
        "PATH": f"{scripts}:{os.environ['PATH']}",
    }
    agent = EnrolledAgent(server, "van7", state)
    with run_agent(agent, server.url, [log_dongle(files / "drive.log", "van7-can0", loop=True)]):
        wait_for_recorded(server, "van7-can0", token, 1)
        yield Desk(files, server, environment)


def tried(desk: Desk, example: str, directory: Path) -> Process:
    """The example, started in a directory that has the files it names."""
    shutil.copytree(desk.files, directory, dirs_exist_ok=True)
    line = example.replace(SOMEBODYS, desk.server.url).replace(PORT, "--port 0")
    return Process(["bash", "-c", f"cd {directory} && {line}"], environment=desk.environment)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split("\n")[0])
def test_an_example_of_help_works(desk: Desk, tmp_path: Path, example: str) -> None:
    with tried(desk, example, tmp_path) as process:
        status = process.wait()
        assert "Traceback" not in process.errors
        assert "Usage:" not in process.errors
        assert "No such" not in process.errors
        assert status == 0 or (status == 1 and EXAMPLES[example] in JUDGING), process.errors


def test_the_example_of_the_server_listens_and_ends(desk: Desk, tmp_path: Path) -> None:
    (example,) = next(iter(PROGRAMS[1].listed.values())).examples
    with tried(desk, f"exec {example}", tmp_path) as process:
        process.wait_for_line(r"listening on http://127\.0\.0\.1:\d+")
        process.signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.errors.splitlines()[-1] == "interrupted"
    assert (tmp_path / "data").is_dir()
    run_command(
        [*installed_command("stream-server"), "backup", "--data-dir", tmp_path / "data", tmp_path / "copy"]
    )
