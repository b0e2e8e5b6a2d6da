"""Whatever is wrong is one sentence that names it and says the next step, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import shlex
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import click
import pytest
from click.testing import CliRunner

from edge_agent.cli.main import main as edge_agent
from edge_agent.host import state_directory
from stream_server.main import main as stream_server
from tests.helpers.api_server import API, Server, api_server
from tests.helpers.processes import Process, installed_command
from tests.helpers.programs import every_command
from tests.helpers.wrong_uses import AGENT, SERVER, WrongUse, write_files

PROGRAMS: Final[dict[str, tuple[click.Command, str]]] = {
    "agent": (edge_agent, "edge-agent"),
    "server": (stream_server, "stream-server"),
}
# A process each, to show that the runner in this one is honest.
REAL: Final = (
    "agent run --config other-id.toml",
    "agent run --config typo.toml",
    "agent check-config database.toml",
    "agent enroll --server ftp://x --token-file secret",
    "agent status --config good.toml",
    "server token create --role viewer --data-dir typo",
    "server run --data-dir drive.log",
)
USES: Final = {use.line: use for use in (*AGENT, *SERVER)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a user stands who types these; nothing of this machine is there, nor anything of a user."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(state_directory, "SYSTEM_DIRECTORY", home / "var")
        patch.setenv("HOME", str(home))
        patch.setenv("XDG_STATE_HOME", str(home / "state"))
        # A lock by the agent's id stays there by design: see `edge_agent.host.ownership`.
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        for name in ("EDGE_AGENT_ENROLL_TOKEN", "STREAM_SERVER_DATA_DIR", "HTTPS_PROXY", "https_proxy"):
            patch.delenv(name, raising=False)
        write_files(home)
        yield home


def listed(home: Path) -> dict[str, object]:
    """Every file with its content, every directory; of a database, which SQLite may tidy, what was done."""
    with contextlib.closing(sqlite3.connect(home / "used" / "server.sqlite3")) as database:
        (changes,) = database.execute("SELECT count(*) FROM audit").fetchone()
    files = {
        str(path.relative_to(home)): path.read_bytes() if path.is_file() else None
        for path in sorted(home.rglob("*"))
        if not path.name.endswith(("-wal", "-shm")) and path.suffix != ".sqlite3"
    }
    return {"changes of the server": changes, **files}


def assert_said(use: WrongUse, home: Path, said: str) -> None:
    assert "Traceback" not in said
    for part in use.parts:
        assert part.format(home=home) in said


@pytest.mark.parametrize("use", USES.values(), ids=str)
def test_a_wrong_use_is_a_sentence_with_the_next_step_and_leaves_nothing(use: WrongUse, home: Path) -> None:
    program, *arguments = shlex.split(use.line)
    before = listed(home)
    result = CliRunner().invoke(PROGRAMS[program][0], arguments)
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert_said(use, home, result.stdout + result.stderr)
    assert listed(home) == before


@pytest.mark.parametrize("line", REAL)
def test_a_process_says_the_same(line: str, home: Path) -> None:
    use, (program, *arguments) = USES[line], shlex.split(line)
    before = listed(home)
    with Process([*installed_command(PROGRAMS[program][1]), *arguments]) as process:
        assert process.wait() in (1, 2)
        assert_said(use, home, process.output + process.errors)
    assert listed(home) == before


def test_every_command_is_in_the_table() -> None:
    for one in every_command():
        if isinstance(one.command, click.Group):
            continue
        beginning = f"{'agent' if one.program is edge_agent else 'server'} {one.name}"
        assert any(line.startswith(beginning) for line in USES), beginning


def test_what_is_chosen_and_fits_nothing_is_said(home: Path) -> None:
    agent = installed_command("edge-agent")
    chosen = ["--id", "7FF", "--map", "can5=x", "--speed", "MAX"]
    with Process([*agent, "replay", home / "drive.log", "--print", *chosen]) as process:
        assert process.wait() == 0
        assert "--id 7FF: no frame has it" in process.errors
        assert "--map can5=x: no channel is called can5; there is can0" in process.errors
    with Process(
        [*agent, "decode", home / "drive.log", "--dbc", home / "van.dbc", "--signals", "sped"]
    ) as process:
        assert process.wait() == 0
        assert (
            "--signals sped: no signal of these databases is called so: did you mean Speed?" in process.errors
        )


# -- addresses and rights of the API


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with api_server(tmp_path) as running:
        yield running


# Who asks, how and where; the status, and parts of the message.
REQUESTS: Final[list[tuple[str, str, str, int, tuple[str, ...]]]] = [
    ("nobody", "GET", f"{API}/agents", 401, ("credential", "Authorization: Bearer")),
    ("void", "GET", f"{API}/agents", 401, ("credential is unknown, expired or revoked", "token create")),
    ("viewer", "GET", f"{API}/audit", 403, ("needs the role admin, not viewer", "ask for a token")),
    ("viewer", "PUT", f"{API}/streams/dongles/x/sampling", 403, ("needs the role operator, not viewer",)),
    ("viewer", "POST", f"{API}/agents/heartbeat", 403, ("for agents", "agent token")),
    ("viewer", "GET", f"{API}/agents/nope", 404, ("there is no agent 'nope'", "GET /api/v1/agents lists")),
    ("viewer", "GET", f"{API}/dongles/nope", 404, ("there is no dongle 'nope'", "/api/v1/dongles lists")),
    ("viewer", "GET", f"{API}/dongles/nope/frames", 404, ("there is no dongle 'nope'", "lists them")),
    ("viewer", "GET", f"{API}/groups/nope", 404, ("there is no group 'nope'", "/api/v1/groups lists them")),
    ("viewer", "POST", f"{API}/groups", 403, ("needs the role operator, not viewer",)),
    ("admin", "POST", f"{API}/groups", 400, ("missing required field `dongle_a_id`",)),
    ("viewer", "POST", f"{API}/groups/nope/activate", 403, ("needs the role operator, not viewer",)),
    ("admin", "POST", f"{API}/groups/nope/activate", 404, ("there is no group 'nope'", "lists them")),
    ("admin", "POST", f"{API}/groups/nope/deactivate", 404, ("there is no group 'nope'", "lists them")),
    ("viewer", "GET", f"{API}/dongle", 404, ("there is nothing at /api/v1/dongle", "openapi.json")),
    ("viewer", "DELETE", f"{API}/agents", 405, ("/api/v1/agents takes GET",)),
    ("viewer", "GET", f"{API}/agents?limit=5", 400, ("no query parameter 'limit'", "there are none here")),
    ("admin", "GET", f"{API}/audit?limt=5", 400, ("no query parameter 'limt'", "did you mean limit?")),
    ("admin", "GET", f"{API}/audit?limit=x", 400, ("limit must be a whole number from 1 to 1000",)),
    ("viewer", "POST", f"{API}/auth/logout", 400, ("no browser session", "token revoke")),
]


async def test_a_wrong_request_is_a_sentence_with_the_next_step(server: Server) -> None:
    users = {
        "nobody": server.api(),
        "void": server.api("cea_api_" + "x" * 43),
        "viewer": await server.user("viewer"),
        "admin": await server.user("admin"),
    }
    for user, method, path, status, parts in REQUESTS:
        options: dict[str, Any] = {} if method in ("GET", "DELETE") else {"body": {}}
        answered, body, _ = await users[user].ask(method, path, **options)
        assert answered == status, (path, body)
        assert set(body) == {"code", "message", "details"}
        for part in parts:
            assert part in body["message"], (path, body["message"])
