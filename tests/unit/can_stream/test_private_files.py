"""What is for one user alone is closed to others, or named; what is somebody else's is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from can_stream.private_files import make_private, others_may_read, place_for_secret


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_directory_and_one_that_is_private_are_nothing_to_talk_about(tmp_path: Path) -> None:
    made = tmp_path / "a" / "b"
    assert [make_private(made), make_private(made)] == [None, None]
    assert mode_of(made) == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o777])
def test_one_that_others_could_enter_is_closed_and_what_is_in_it_stays(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(mode)
    (directory / "server.sqlite3").write_text("kept")
    assert "is for its owner alone now" in (make_private(directory) or "")
    assert mode_of(directory) == 0o700
    assert (directory / "server.sqlite3").read_text() == "kept"
    assert make_private(directory) is None


def test_a_home_or_a_shared_place_is_named_and_left_alone(tmp_path: Path) -> None:
    home, shared = tmp_path / "home", tmp_path / "shared"
    for directory, mode in ((home, 0o755), (shared, 0o1777)):
        directory.mkdir()
        directory.chmod(mode)
    (home / "pictures").mkdir()
    for directory, mode in ((home, 0o755), (shared, 0o1777)):
        assert "give it a directory of its own" in (make_private(directory) or "")
        assert mode_of(directory) == mode


def test_somebody_elses_is_refused_with_the_remedy_and_roots_is_not(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    mocker.patch("os.geteuid", return_value=os.getuid() + 4711)
    directory = tmp_path / "data"
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    with pytest.raises(PermissionError, match=rf"chown {os.getuid() + 4711} {directory} && chmod 700"):
        make_private(directory)
    mocker.patch("os.geteuid", return_value=0)
    assert make_private(directory)
    assert mode_of(directory) == 0o700


def test_a_token_that_others_can_read_is_named(tmp_path: Path) -> None:
    token = tmp_path / "token"
    assert others_may_read(token) is None
    token.touch(mode=0o600)
    assert others_may_read(token) is None
    token.chmod(0o640)
    assert others_may_read(token) == f"others can read {token}: run `chmod 600 {token}`"
    assert others_may_read(Path("/dev/null")) is None


def test_a_secret_is_there_whole_and_for_one_user_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(RuntimeError), place_for_secret(path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    earlier = os.umask(0)
    try:
        with place_for_secret(path) as store:
            assert [mode_of(one) for one in tmp_path.iterdir()] == [0o600]
            store("cea_x\n")
    finally:
        os.umask(earlier)
    assert path.read_text() == "cea_x\n"
    assert [(one.name, mode_of(one)) for one in tmp_path.iterdir()] == [("token", 0o600)]
