"""The token: where it is, who may read it, how it is stored."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import CredentialError
from edge_agent.uplink.credentials import (
    default_token_file,
    parse_token,
    place_for_token,
    read_agent_token,
    read_token,
    token_file,
    token_files,
    write_token,
)


def secret(path: Path, content: bytes = b"s3cret\n", mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_what_is_written_is_read_and_nobody_else_can(tmp_path: Path) -> None:
    path = tmp_path / "new" / "token"
    write_token(path, "cea_agent_first")
    write_token(path, "cea_agent_second")
    assert read_token(path) == "cea_agent_second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["token"]


def test_a_token_that_cannot_be_stored_leaves_the_old_one(tmp_path: Path) -> None:
    path = secret(tmp_path / "token", b"cea_agent_old\n")
    with pytest.raises(CredentialError, match="cannot be stored") as caught:
        write_token(path, "s3cret\u2028")
    assert "s3cret" not in str(caught.value)
    assert read_token(path) == "cea_agent_old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["token"]
    with pytest.raises(CredentialError, match="cannot be stored: File exists"):
        write_token(path / "below", "new")


def test_where_nothing_is_stored_no_directory_is_left(tmp_path: Path) -> None:
    with place_for_token(tmp_path / "new" / "below" / "token", ""):
        assert len(list((tmp_path / "new" / "below").iterdir())) == 1, "there is room for it"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/nope/token", "/dev/null", "/dev"])
def test_a_place_that_can_hold_no_token_is_refused_at_once(place: str) -> None:
    with (
        pytest.raises(CredentialError, match=f"^{place}: .*: name another$"),
        place_for_token(Path(place), "name another"),
    ):
        pytest.fail("a token would be lost")


@pytest.mark.parametrize(
    "content",
    [b'[server]\nurl = "https://x"\n', b"word\n", b"cea_agent_a cea_agent_b", b"\x00" * 40, b"x" * 5000],
)
def test_what_is_no_token_is_not_written_over(tmp_path: Path, content: bytes) -> None:
    path = secret(tmp_path / "agent.toml", content)
    with (
        pytest.raises(CredentialError, match=r"something else than a token: move it away, or name another$"),
        place_for_token(path, "name another"),
    ):
        pytest.fail("a token would be lost")
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b" \n", b"cea_agent_old\n", b"cea_enroll_once"])
def test_a_token_of_ours_is_written_over_and_so_is_nothing(tmp_path: Path, content: bytes) -> None:
    path = secret(tmp_path / "token", content)
    write_token(path, "cea_agent_new")
    assert read_token(path) == "cea_agent_new"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = secret(tmp_path / "token", mode=mode)
    with pytest.raises(CredentialError, match=f"chmod 600 {path}"):
        read_token(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"x" * 4097, "larger than 4096"),
        (b"two words", "not a token"),
        (b"caf\xc3\xa9", "not a token"),
        (b"nul\x00", "not a token"),
    ],
)
def test_what_is_no_token_is_refused_without_being_shown(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(CredentialError, match=reason) as caught:
        read_token(secret(tmp_path / "t", content))
    assert "words" not in str(caught.value)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="edge-agent enroll"):
        read_token(tmp_path / "none")
    with pytest.raises(CredentialError, match="cannot be read: Is a directory"):
        read_token(tmp_path)


def test_the_configured_file_comes_first_then_systemds_then_the_default(tmp_path: Path) -> None:
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    default = default_token_file(environment)
    assert token_file(None, environment) == default
    # systemd's files carry an ACL whose mask shows as group bits
    secret(tmp_path / "agent-token", b"from-systemd", mode=0o440)
    assert read_agent_token(None, environment) == "from-systemd"
    configured = secret(tmp_path / "mine", b"mine")
    assert read_agent_token(str(configured), environment) == "mine"


def test_a_service_looks_for_another_token_where_enroll_puts_it(tmp_path: Path) -> None:
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    default = default_token_file(environment)
    assert token_files(None, environment) == [default]
    copy = secret(tmp_path / "agent-token", mode=0o440)
    assert token_files(None, environment) == [copy, default]
    assert token_files("/etc/token", environment) == [Path("/etc/token")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_stores_in_a_services_directory_is_the_services(tmp_path: Path) -> None:
    os.chown(tmp_path, 12_345, 12_346)
    write_token(tmp_path / "token", "cea_agent_first")
    found = (tmp_path / "token").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12_345, 12_346, 0o600)


def test_the_default_is_the_users_own_unless_it_is_root(tmp_path: Path) -> None:
    assert default_token_file({}, user_id=0) == Path("/var/lib/edge-agent/token")
    state = {"XDG_STATE_HOME": str(tmp_path), "HOME": "/home/ada"}
    assert default_token_file(state, user_id=1000) == tmp_path / "edge-agent" / "token"
    relative = {"XDG_STATE_HOME": "state", "HOME": "/home/ada"}
    assert default_token_file(relative, user_id=1000) == Path("/home/ada/.local/state/edge-agent/token")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_token_for_a_header_or_the_documented_error(content: bytes) -> None:
    try:
        token = parse_token(content, Path("token"))
    except CredentialError:
        return
    assert token.isascii()
    assert token.isprintable()
    assert not any(letter.isspace() for letter in token)


def test_a_device_file_is_no_endless_token() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("no /dev/zero")
    with pytest.raises(CredentialError, match="larger"):
        read_token(Path("/dev/zero"))
