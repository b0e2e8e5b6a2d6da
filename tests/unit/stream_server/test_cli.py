"""The command line: what it prints, what it refuses and how, on a real data directory."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from stream_server.access.secrets import kind_of
from stream_server.cli import main
from stream_server.errors import StartError
from stream_server.storage import data_directory, kept_facts, server_schema


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


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


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [path]
    for name, command in group.commands.items():
        found += commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


@pytest.mark.parametrize("command", commands(main), ids=" ".join)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    assert "Usage:" in printed(*command, "--help")
    assert "\n\n  " in printed(*command, "--help")


def test_a_created_secret_is_the_only_line_on_stdout(tmp_path: Path) -> None:
    token = printed("token", "create", "--data-dir", tmp_path / "new", "--role", "viewer")
    assert token.count("\n") == 1
    assert kind_of(token.strip()) == "api"
    enrolment = printed(
        "enroll", "create", "--data-dir", tmp_path / "new", "--agent-id", "van7", "--uses", "3"
    )
    assert enrolment.count("\n") == 1
    assert kind_of(enrolment.strip()) == "enroll"
    link = printed("admin-link", "--data-dir", tmp_path / "new", "--url", "https://x.example/")
    assert link.startswith("https://x.example/#link=cea_link_")


def test_tokens_are_listed_without_their_secret_and_revoked_once(tmp_path: Path) -> None:
    secret = printed("token", "create", "--data-dir", tmp_path, "--role", "operator", "--name", "ci").strip()
    listed = printed("token", "list", "--data-dir", tmp_path)
    assert "operator" in listed
    assert "ci" in listed
    assert secret not in listed
    assert invoke("token", "revoke", "--data-dir", tmp_path, "1").exit_code == 0
    assert "no token '1'" in refused("token", "revoke", "--data-dir", tmp_path, "1")
    assert "no token '7'" in refused("token", "revoke", "--data-dir", tmp_path, "7")


def test_the_directory_and_its_files_are_private(tmp_path: Path) -> None:
    printed("token", "create", "--data-dir", tmp_path / "new", "--role", "viewer")
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0
    files = list((tmp_path / "new").glob("*.sqlite3"))
    assert len(files) == 3
    assert not any(file.stat().st_mode & 0o077 for file in files)


def test_a_backup_is_whole_checked_private_and_overwrites_nothing(tmp_path: Path) -> None:
    printed("token", "create", "--data-dir", tmp_path, "--role", "viewer")
    target = tmp_path / "copy.sqlite3"
    assert invoke("backup", "--data-dir", tmp_path, target).exit_code == 0
    assert target.stat().st_mode & 0o077 == 0
    with sqlite3.connect(target) as connection:
        assert connection.execute("SELECT role FROM api_tokens").fetchall() == [("viewer",)]
    before = target.read_bytes()
    assert "exists" in refused("backup", "--data-dir", tmp_path, target)
    assert target.read_bytes() == before
    assert "cannot write" in refused("backup", "--data-dir", tmp_path, tmp_path / "no" / "where")


def test_a_backup_of_a_damaged_database_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    directory = data_directory.prepare(tmp_path)
    directory.recording_path.write_bytes(b"no database" * 1000)
    assert "failed" in refused("backup", "--data-dir", tmp_path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "command", [("token", "list"), ("token", "revoke", "1"), ("admin-link",), ("backup", "x")], ids=" ".join
)
def test_a_directory_without_a_database_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    said = refused(*command, "--data-dir", tmp_path)
    assert "--data-dir" in said
    assert str(tmp_path) in said


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
    for command in commands(main):
        assert f"stream-server {' '.join(command)}".strip() in text
    assert not [key for key in config_keys() if f"`{key}`" not in text]


def config_keys() -> list[str]:
    import msgspec

    from stream_server.config import ServerConfig

    return [
        f"{section.name}.{key.name}"
        for section in msgspec.structs.fields(ServerConfig)
        for key in msgspec.structs.fields(section.type)
    ]
