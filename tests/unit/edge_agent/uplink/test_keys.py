"""Token and CAs are those of their files, also when these change; half a file changes nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from edge_agent.errors import UplinkError
from edge_agent.uplink.credentials import write_token
from edge_agent.uplink.keys import Keys, trusting
from tests.helpers.certificates import Authority


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    write_token(tmp_path / "token", "cea_agent_first")
    return tmp_path / "token"


def test_a_token_that_is_replaced_is_taken_up(token_file: Path) -> None:
    keys = Keys("cea_agent_first", None, [token_file])
    assert not keys.look()
    write_token(token_file, "cea_agent_second")
    assert keys.look()
    assert keys.token == "cea_agent_second"
    assert not keys.look()


def test_a_file_that_only_was_written_again_is_no_news(token_file: Path) -> None:
    keys = Keys("cea_agent_first", None, [token_file])
    write_token(token_file, "cea_agent_first")
    assert not keys.look()


def test_half_a_file_is_no_fault_and_the_whole_one_is_taken(
    token_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = Keys("cea_agent_first", None, [token_file])
    token_file.write_bytes(b"")
    assert not keys.look()
    token_file.write_bytes(b"cea_agent_second\n")
    assert keys.look()
    assert keys.token == "cea_agent_second"
    token_file.unlink()
    assert not keys.look()
    assert keys.token == "cea_agent_second"
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_what_stays_unreadable_is_said_once(token_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = Keys("cea_agent_first", None, [token_file])
    token_file.chmod(0o644)
    assert [keys.look() for _ in range(4)] == [False] * 4
    (record,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert f"chmod 600 {token_file}" in record.message
    assert keys.token == "cea_agent_first"
    token_file.chmod(0o600)
    assert not keys.look()


def test_any_of_several_files_may_bring_another_token(token_file: Path, tmp_path: Path) -> None:
    keys = Keys("cea_agent_first", None, [token_file, tmp_path / "other"])
    write_token(tmp_path / "other", "cea_agent_second")
    assert keys.look()
    assert keys.token == "cea_agent_second"


def test_a_ca_file_that_is_replaced_is_trusted(tmp_path: Path) -> None:
    old, new = Authority(tmp_path / "old", "old"), Authority(tmp_path / "new", "new")
    path = tmp_path / "ca.pem"
    path.write_bytes(old.pem.read_bytes())
    keys = Keys("cea_agent_first", path)
    before = keys.tls
    assert keys.is_watched
    path.write_bytes(new.pem.read_bytes()[:100])
    assert not keys.look()
    assert keys.tls is before
    path.write_bytes(new.pem.read_bytes())
    assert keys.look()
    (trusted,) = keys.tls.get_ca_certs()
    assert trusted["subject"] == ((("commonName", "new"),),)


def test_without_files_there_is_nothing_to_look_at() -> None:
    keys = Keys("cea_agent_first")
    assert not keys.is_watched
    assert not keys.look()
    before = keys.tls
    assert keys.tls is before
    keys.forget_trust()
    assert keys.tls is not before, "the system's CAs are read again"


def test_a_ca_file_that_is_none_is_said_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UplinkError, match=r"none\.pem cannot be used: No such file"):
        trusting(tmp_path / "none.pem")
    (tmp_path / "garbage.pem").write_text("garbage")
    with pytest.raises(UplinkError, match="name a PEM file with the server's CA"):
        _ = Keys("cea_agent_first", tmp_path / "garbage.pem").tls
