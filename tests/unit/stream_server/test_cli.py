"""The command line: what it prints, what it refuses and how, on a real data directory."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from pytest_mock import MockerFixture
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from can_stream.protocol.registration import RegisterRequest
from stream_server import cli
from stream_server.access.secrets import kind_of
from stream_server.errors import StartError
from stream_server.fleet import registry
from stream_server.main import main
from stream_server.storage import data_directory, kept_facts, server_schema
from stream_server.storage.database import Database
from tests.helpers.programs import every_command


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A directory that a server has used."""
    with data_directory.locked(tmp_path / "used"):
        return data_directory.prepare(tmp_path / "used").path


def printed(*arguments: str | Path) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: str | Path) -> str:
    result = invoke(*arguments)
    assert result.exit_code != 0
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert isinstance(result.exception, SystemExit)
    return result.stderr


def test_the_default_configuration_is_the_one_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "DEFAULT_CONFIG", tmp_path / "server.toml")
    assert str(tmp_path / "server.toml") in refused("check-config")
    (tmp_path / "server.toml").write_text("[server]\nport = true\n")
    for command in ("check-config", "run"):
        assert "server.port" in refused(command)
    (tmp_path / "other.toml").write_text("")
    assert invoke("check-config", "--config", tmp_path / "other.toml").exit_code == 0


def test_a_created_secret_is_the_only_line_on_stdout(used: Path) -> None:
    token = printed("token", "create", "--data-dir", used, "--role", "viewer")
    assert token.count("\n") == 1
    assert kind_of(token.strip()) == "api"
    enrolment = printed("enroll", "create", "--data-dir", used, "--agent-id", "van7", "--uses", "3")
    assert enrolment.count("\n") == 1
    assert kind_of(enrolment.strip()) == "enroll"
    link = printed("admin-link", "--data-dir", used, "--url", "https://x.example/")
    assert link.startswith("https://x.example/#link=cea_link_")


def test_the_directory_that_was_used_is_said_beside(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(used.parent)
    for command in (["token", "create", "--role", "viewer"], ["enroll", "create"], ["admin-link"]):
        assert f"Data directory: {used}\n" in invoke(*command, "--data-dir", "used").stderr


def test_tokens_are_listed_without_their_secret_and_revoked_once(used: Path) -> None:
    secret = printed("token", "create", "--data-dir", used, "--role", "operator", "--name", "ci").strip()
    listed = printed("token", "list", "--data-dir", used)
    assert "operator" in listed
    assert "ci" in listed
    assert secret not in listed
    assert invoke("token", "revoke", "--data-dir", used, "1").exit_code == 0
    assert "no token '1'" in refused("token", "revoke", "--data-dir", used, "1")
    assert "no token '7'" in refused("token", "revoke", "--data-dir", used, "7")


def test_enrolment_tokens_are_listed_with_what_is_left_of_them_and_revoked_once(used: Path) -> None:
    secret = printed("enroll", "create", "--data-dir", used).strip()
    printed("enroll", "create", "--data-dir", used, "--agent-id", "van7", "--uses", "3", "--valid-days", "90")
    printed("enroll", "revoke", "--data-dir", used, "1")
    listed = printed("enroll", "list", "--data-dir", used)
    assert secret not in listed
    head, first, second = listed.splitlines()
    assert head.split() == ["ID", "USES", "LEFT", "CREATED", "EXPIRES", "REVOKED", "FOR", "AGENT"]
    assert first.split()[:2] == ["1", "1"]
    assert first.endswith("  any new one")
    revoked = datetime.now(UTC).strftime("%Y-%m-%d")
    assert first.split()[6] == revoked
    created, expires = (datetime.fromisoformat(second.split()[place]) for place in (2, 4))
    assert (expires - created).days == 90
    assert second.split()[:2] + second.split()[-2:] == ["2", "3", "-", "van7"]
    assert "no enrolment '1'" in refused("enroll", "revoke", "--data-dir", used, "1")


def test_agents_are_listed_disabled_enabled_and_revoked(used: Path) -> None:
    enrolled(used, "van7")
    said = []
    for deed in ("disable", "enable", "revoke"):
        assert "van7" in invoke("agents", deed, "--data-dir", used, "van7").stderr
        said.append(printed("agents", "list", "--data-dir", used).splitlines()[-1].split()[0])
    assert said == ["disabled", "valid", "revoked"]
    table = server_schema.audit
    audited = data_directory.existing(used).administer(
        lambda c: c.execute(
            select(table.c.actor, table.c.action).where(table.c.subject == "agent:van7").order_by(table.c.id)
        ).all()
    )
    assert [tuple(one) for one in audited][1:] == [
        ("command line", "agent.disable"), ("command line", "agent.enable"), ("command line", "agent.revoke"),
    ]  # fmt: skip


def enrolled(used: Path, agent_id: str) -> None:
    now_ns = time.time_ns()
    token = printed("enroll", "create", "--data-dir", used).strip()
    request = RegisterRequest(token, agent_id)
    data_directory.existing(used).administer(
        lambda connection: registry.register(connection, request, now_ns, None)
    )


def test_the_directory_and_its_files_are_private(used: Path) -> None:
    assert used.stat().st_mode & 0o077 == 0
    files = list(used.glob("*.sqlite3"))
    assert len(files) == 3
    assert not any(file.stat().st_mode & 0o077 for file in files)


def test_a_backup_is_whole_checked_private_and_overwrites_nothing(used: Path, tmp_path: Path) -> None:
    printed("token", "create", "--data-dir", used, "--role", "viewer")
    target = tmp_path / "copy.sqlite3"
    assert invoke("backup", "--data-dir", used, target).exit_code == 0
    assert target.stat().st_mode & 0o077 == 0
    with sqlite3.connect(target) as connection:
        assert connection.execute("SELECT role FROM api_tokens").fetchall() == [("viewer",)]
    before = target.read_bytes()
    assert "exists" in refused("backup", "--data-dir", used, target)
    assert target.read_bytes() == before
    assert "cannot write" in refused("backup", "--data-dir", used, tmp_path / "no" / "where")


def test_a_backup_of_a_damaged_database_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    directory = data_directory.prepare(tmp_path)
    directory.recording_path.write_bytes(b"no database" * 1000)
    assert "failed" in refused("backup", "--data-dir", tmp_path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("token", "create", "--role", "viewer"), ("token", "list"), ("token", "revoke", "1"),
        ("enroll", "create"), ("enroll", "list"), ("enroll", "revoke", "1"), ("agents", "list"),
        ("agents", "revoke", "van7"), ("agents", "disable", "van7"), ("agents", "enable", "van7"),
        ("admin-link",), ("backup", "x"), ("books", "van7-can0"), ("holes", "close", "van7"),
        ("clock", "confirm"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_directory_without_a_database_is_named_and_none_is_begun(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "typo/below"):
        said = refused(*command, "--data-dir", tmp_path / name)
        assert "--data-dir" in said
        assert str(tmp_path / name) in said
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_every_command_on_a_directory_but_run_is_among_those() -> None:
    others = {"", "run", "check-config", "completion"}
    names = {
        one.name
        for one in every_command()
        if one.program is main and not isinstance(one.command, click.Group)
    }
    assert names - others == {
        "token create", "token list", "token revoke", "enroll create", "enroll list", "enroll revoke",
        "agents list", "agents revoke", "agents disable", "agents enable", "admin-link", "backup", "books",
        "holes close", "clock confirm",
    }  # fmt: skip


# -- where the agent alone is installed


@pytest.mark.parametrize("name", ["aiohttp", "sqlalchemy", "alembic"])
def test_the_extra_is_named_and_how_to_install_it(name: str) -> None:
    code = f"import sys; sys.modules['{name}'] = None; from stream_server.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "run"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: stream-server needs {name}, which is not installed")
    assert "'.[server]'" in done.stderr
    assert done.stderr.count("\n") == 1


# -- where the server is that a link leads to


def test_a_link_leads_to_the_server_that_runs_there(used: Path) -> None:
    with data_directory.locked(used):
        data_directory.say_address(used, "https://van.example:4711")
        assert printed("admin-link", "--data-dir", used).startswith(
            "https://van.example:4711/#link=cea_link_"
        )
        given = printed("admin-link", "--data-dir", used, "--url", "http://10.0.0.7:8080")
        assert given.startswith("http://10.0.0.7:8080/#link=")


def test_what_a_server_of_before_said_does_not_count(used: Path) -> None:
    with data_directory.locked(used):
        data_directory.say_address(used, "https://van.example:4711")
    result = invoke("admin-link", "--data-dir", used)  # it was killed, and nobody could take the note away
    assert result.stdout.startswith("http://127.0.0.1:8080/#link=")
    assert "no server runs there now: this link is for http://127.0.0.1:8080; give --url" in result.stderr
    with data_directory.locked(used):
        assert data_directory.running_address(used) == ""
        assert "does not say where" in invoke("admin-link", "--data-dir", used).stderr


async def test_a_disk_that_is_full_costs_the_first_link_and_not_the_server(
    used: Path, mocker: MockerFixture, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    full = OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
    broken = mocker.patch("stream_server.access.credentials.first_admin_link", side_effect=full)
    database = Database(data_directory.existing(used).server_path)
    await cli._show_first_link(database, "http://127.0.0.1:8080")
    assert capsys.readouterr().out == ""
    assert "database or disk is full; `stream-server admin-link` makes one" in caplog.text
    mocker.stop(broken)
    await cli._show_first_link(database, "http://127.0.0.1:8080")
    assert capsys.readouterr().out.startswith("sign in with http://127.0.0.1:8080/#link=")
    await database.close()


def test_check_config_shows_every_problem_at_once(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(
        '[server]\nport = 70000\nhots = "x"\npublic_url = "nonsense"\n[console]\nring_events = 0\n'
    )
    said = refused("check-config", file)
    for part in (
        "server.port",
        "server.hots",
        "did you mean `host`",
        "server.public_url",
        "console.ring_events",
    ):
        assert part in said
    file.write_text('[server]\nport = 0\npublic_url = "https://stream.example.com"\n')
    assert invoke("check-config", file).exit_code == 0
    assert "cannot be read" in refused("check-config", tmp_path / "missing.toml")


def test_a_clock_is_confirmed_in_the_audit_and_for_the_server(tmp_path: Path) -> None:
    directory = data_directory.prepare(tmp_path)
    before = time.time_ns()
    result = invoke("clock", "confirm", "--data-dir", tmp_path)
    assert result.exit_code == 0
    confirmed = directory.administer_recording(lambda c: kept_facts.get(c, kept_facts.CLOCK_CONFIRMED))
    assert before <= int(confirmed or 0) <= time.time_ns()
    audited = directory.administer(lambda c: c.execute(select(server_schema.audit.c.action)).scalars().all())
    assert "clock.confirm" in audited


def test_a_bad_agent_id_is_refused(tmp_path: Path) -> None:
    assert "a-z" in refused("enroll", "create", "--data-dir", tmp_path, "--agent-id", "Van 7")


def test_one_directory_one_server(tmp_path: Path) -> None:
    with (
        data_directory.locked(tmp_path),
        pytest.raises(StartError, match="another stream-server"),
        data_directory.locked(tmp_path, patience_seconds=0),
    ):
        pass
    with data_directory.locked(tmp_path):
        pass


def test_every_command_and_config_key_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "server.md").read_text()
    for one in every_command():
        assert one.program is not main or str(one) in text
    assert not [key for key in config_keys() if f"`{key}`" not in text]


def config_keys() -> list[str]:
    import msgspec

    from stream_server.config import ServerConfig

    return [
        f"{section.name}.{key.name}"
        for section in msgspec.structs.fields(ServerConfig)
        for key in msgspec.structs.fields(section.type)
    ]


# -- secrets in files


@pytest.mark.parametrize(
    ("command", "begins"),
    [
        ("token create --role viewer", "cea_api_"),
        ("enroll create", "cea_enroll_"),
        ("admin-link --url https://van.example", "https://van.example/#link=cea_link_"),
    ],
)
def test_a_secret_goes_into_a_file_of_its_own_and_nowhere_else(
    used: Path, tmp_path: Path, command: str, begins: str
) -> None:
    out = tmp_path / "secret"
    words: list[str | Path] = [*command.split(), "--data-dir", used, "--out", out]
    assert printed(*words) == ""
    first = out.read_text()
    assert first.startswith(begins)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    out.chmod(0o644)
    printed(*words)  # one of ours is replaced
    assert out.read_text() != first
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_what_cannot_be_stored_is_not_made_and_no_other_file_is_lost(used: Path, tmp_path: Path) -> None:
    before = printed("token", "list", "--data-dir", used)
    other = tmp_path / "agent.toml"
    other.write_text("[agent]\nid = 1\n")
    create: list[str | Path] = ["token", "create", "--role", "viewer", "--data-dir", used, "--out"]
    assert "holds something else" in refused(*create, other)
    assert other.read_text() == "[agent]\nid = 1\n"
    assert "name a new file in a directory that is there" in refused(*create, tmp_path / "none" / "token")
    assert printed("token", "list", "--data-dir", used) == before
