"""Where the agent keeps what outlives it, for a service, for root and for anybody; and how it is written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from edge_agent.host import state_directory as directories
from edge_agent.host.state_directory import default_state_directory, state_directory, write_whole

SYSTEM = Path("/var/lib/edge-agent")


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"STATE_DIRECTORY": "/srv/state"}, "/srv/state"),
        ({"STATE_DIRECTORY": "/srv/state:/srv/more"}, "/srv/state"),
        ({"STATE_DIRECTORY": "/srv/state", "XDG_STATE_HOME": "/xdg"}, "/srv/state"),
    ],
)
def test_a_service_has_the_directory_that_systemd_made(environment: dict[str, str], directory: str) -> None:
    assert state_directory(environment) == Path(directory)


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"XDG_STATE_HOME": "/xdg", "HOME": "/home/me"}, "/xdg/edge-agent"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.local/state/edge-agent"),
        ({"HOME": "/home/me"}, "/home/me/.local/state/edge-agent"),
    ],
)
def test_an_ordinary_user_has_one_at_home(environment: dict[str, str], directory: str) -> None:
    assert default_state_directory(environment, user_id=1000) == Path(directory)


def test_a_user_without_a_home_has_the_machines(mocker: MockerFixture) -> None:
    mocker.patch("pathlib.Path.expanduser", side_effect=RuntimeError("Could not determine home directory."))
    assert default_state_directory({}, user_id=1000) == SYSTEM


def test_a_directory_that_may_not_be_looked_at_is_not_written(mocker: MockerFixture) -> None:
    mocker.patch("os.stat", side_effect=PermissionError(13, "Permission denied"))
    mocker.patch("os.geteuid", return_value=1000)
    assert default_state_directory({"XDG_STATE_HOME": "/xdg"}) == Path("/xdg/edge-agent")


def test_root_has_the_machines() -> None:
    assert default_state_directory({"XDG_STATE_HOME": "/xdg"}, user_id=0) == SYSTEM


def test_a_user_who_may_write_the_machines_has_it(tmp_path: Path, mocker: MockerFixture) -> None:
    mocker.patch("os.geteuid", return_value=1000)
    environment = {"XDG_STATE_HOME": str(tmp_path / "xdg")}
    mocker.patch.object(directories, "SYSTEM_DIRECTORY", tmp_path / "system")
    assert state_directory(environment) == tmp_path / "xdg" / "edge-agent"
    (tmp_path / "system").mkdir()
    assert state_directory(environment) == tmp_path / "system"
    # Asked of somebody else: what this process may write says nothing of them.
    assert default_state_directory(environment, user_id=1000) == tmp_path / "xdg" / "edge-agent"


def test_a_file_is_written_for_its_owner_alone_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state" / "budget.json"
    write_whole(path, b"first, and longer")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["budget.json"]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(path, b"content")
    assert [entry.name for entry in tmp_path.iterdir()] == ["budget.json"]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"[Nn]ot a directory|exists"):
        write_whole(tmp_path / "file" / "budget.json", b"content")


def test_a_disk_that_fills_up_meanwhile_keeps_the_old_content(tmp_path: Path, mocker: MockerFixture) -> None:
    path = tmp_path / "budget.json"
    write_whole(path, b"old")
    temporary = tmp_path / "temporary"
    temporary.touch()
    mocker.patch("tempfile.mkstemp", return_value=(os.open("/dev/full", os.O_WRONLY), str(temporary)))
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert not temporary.exists()
