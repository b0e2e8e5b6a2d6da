"""Where a running agent has its socket and lock, and that nobody else can have made it first."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from edge_agent.host.runtime_directory import make_runtime_directory, runtime_directory, user_directory


@pytest.fixture
def shared(tmp_path: Path, mocker: MockerFixture) -> Path:
    """This user's directory among the temporary ones of all."""
    mocker.patch("tempfile.gettempdir", return_value=str(tmp_path))
    return tmp_path / f"edge-agent-{os.geteuid()}"


def test_a_service_has_what_systemd_made_and_a_user_their_own(shared: Path) -> None:
    assert runtime_directory({"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/x"}) == Path(
        "/run/a"
    )
    assert runtime_directory({"XDG_RUNTIME_DIR": "/run/user/7"}) == Path("/run/user/7/edge-agent")
    assert user_directory({"RUNTIME_DIRECTORY": "/run/a"}) == shared
    assert user_directory({"XDG_RUNTIME_DIR": "relative"}) == shared
    assert user_directory({}) == shared


def test_it_is_made_for_this_user_alone_and_may_be_there_already(tmp_path: Path, shared: Path) -> None:
    for directory in (tmp_path / "new" / "edge-agent", shared):
        for _ in range(2):
            make_runtime_directory(directory)
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_in_a_place_of_all_users_a_link_is_not_followed(tmp_path: Path, shared: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    shared.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        make_runtime_directory(shared)


def test_in_a_place_of_all_users_a_file_is_no_directory(shared: Path) -> None:
    shared.touch()
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        make_runtime_directory(shared)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_in_a_place_of_all_users_somebody_elses_is_refused(shared: Path) -> None:
    shared.mkdir()
    os.chown(shared, 65534, -1)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        make_runtime_directory(shared)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_elsewhere_it_may_be_lent(tmp_path: Path, shared: Path) -> None:
    lent = tmp_path / "run"
    lent.mkdir()
    os.chown(lent, 65534, -1)
    make_runtime_directory(lent)
    assert lent != shared
