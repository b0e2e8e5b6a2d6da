"""One process per agent id."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from edge_agent.errors import OwnerError
from edge_agent.host import ownership
from edge_agent.host.ownership import owning, owning_in_turn

_OWNER: Final = """
import os
import sys
from pathlib import Path
from edge_agent.host.ownership import owning
user, name, directory, *places = sys.argv[1:]
if int(user) != os.geteuid():
    os.setuid(int(user))
with owning("van7", {name: directory}, [Path(place) for place in places]):
    print("has it", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(
    name: str, directory: Path, *places: Path, user: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """It is van7 in this runtime directory, with these files, until the block ends or it is killed."""
    user_id = os.geteuid() if user is None else user
    command = [sys.executable, "-c", _OWNER, str(user_id), name, str(directory), *map(str, places)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        yield process
        process.kill()


def test_another_process_is_named_and_another_agent_not_kept_out(tmp_path: Path) -> None:
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with another_process("XDG_RUNTIME_DIR", tmp_path) as other:
        with (
            pytest.raises(OwnerError, match=f"agent van7: process {other.pid} runs as this agent already"),
            owning("van7", environment),
        ):
            pass
        with owning("van8", environment):
            pass
        other.kill()
        other.wait()
        with owning("van7", environment):
            pass


def test_who_starts_one_by_hand_is_told_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, mine = tmp_path / "service", tmp_path / "mine"
    monkeypatch.setattr(ownership, "SYSTEM_DIRECTORY", service)
    with another_process("RUNTIME_DIRECTORY", service) as other:
        with (
            pytest.raises(OwnerError, match=f"process {other.pid} "),
            owning("van7", {"XDG_RUNTIME_DIR": str(mine)}),
        ):
            pass
        assert not mine.exists()
    with owning("van7", {"XDG_RUNTIME_DIR": str(mine)}):
        pass


@pytest.mark.parametrize("shared", ["token", "spool"])
def test_another_runtime_directory_does_not_let_two_use_the_same_files(tmp_path: Path, shared: str) -> None:
    (tmp_path / "there").symlink_to(tmp_path)
    theirs = [tmp_path / "there" / shared, tmp_path / "their own"]
    with another_process("XDG_RUNTIME_DIR", tmp_path / "theirs", *theirs) as other:
        with (
            pytest.raises(OwnerError, match=f"agent van7: process {other.pid} runs as this agent already"),
            owning(
                "van7", {"XDG_RUNTIME_DIR": str(tmp_path / "mine")}, [tmp_path / "mine", tmp_path / shared]
            ),
        ):
            pass
        with owning("van7", {"XDG_RUNTIME_DIR": str(tmp_path / "mine")}, [tmp_path / "mine"]):
            pass  # another machine's copy, as far as can be seen here
        with owning("van8", {"XDG_RUNTIME_DIR": str(tmp_path / "mine")}, [tmp_path / shared]):
            pass
        other.kill()
        other.wait()
        with owning("van7", {"XDG_RUNTIME_DIR": str(tmp_path / "mine")}, [tmp_path / shared]):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")
def test_another_user_is_seen(tmp_path: Path) -> None:
    theirs = Path(tempfile.mkdtemp(dir="/tmp"))
    os.chown(theirs, 65534, 65534)
    try:
        with (
            another_process("XDG_RUNTIME_DIR", theirs, tmp_path / "token", user=65534) as other,
            pytest.raises(OwnerError, match=f"process {other.pid} "),
            owning("van7", {"XDG_RUNTIME_DIR": str(tmp_path)}, [tmp_path / "token"]),
        ):
            pass
    finally:
        shutil.rmtree(theirs)


def test_a_lock_that_is_deleted_meanwhile_lets_nobody_in(tmp_path: Path) -> None:
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with another_process("XDG_RUNTIME_DIR", tmp_path, tmp_path / "token") as other:
        (tmp_path / "edge-agent" / "van7.lock").unlink()
        with (
            pytest.raises(OwnerError, match=f"process {other.pid} "),
            owning("van7", environment, [tmp_path / "token"]),
        ):
            pass
        shutil.rmtree(tmp_path / "edge-agent")
        with (
            pytest.raises(OwnerError, match=f"process {other.pid} "),
            owning("van7", environment, [tmp_path / "token"]),
        ):
            pass


def test_children_do_not_keep_it(tmp_path: Path) -> None:
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with owning("van7", environment, [tmp_path / "token"]):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with another_process("XDG_RUNTIME_DIR", tmp_path, tmp_path / "token"):
            pass
    finally:
        child.kill()
        child.wait()


def test_anybody_may_ask_who_it_is_and_nobody_else_take_it(tmp_path: Path) -> None:
    earlier = os.umask(0o077)
    try:
        with owning("van7", {"RUNTIME_DIRECTORY": str(tmp_path)}):
            assert (tmp_path / "van7.lock").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(earlier)


def test_a_place_without_locks_is_named_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "edge-agent").write_text("")
    with (
        pytest.raises(OwnerError, match="set XDG_RUNTIME_DIR to a directory of this user"),
        owning("van7", {"XDG_RUNTIME_DIR": str(tmp_path)}),
    ):
        pass


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "van7.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OwnerError, match="no lock at"), owning("van7", {"RUNTIME_DIRECTORY": str(tmp_path)}):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_who_waits_is_told_for_whom_and_comes_in_its_turn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    caplog.set_level("INFO")
    with another_process("XDG_RUNTIME_DIR", tmp_path) as other:
        said = _Said()

        def end_it() -> None:
            said.wait(20)
            other.kill()
            other.wait()

        ending = threading.Thread(target=end_it)
        logging.getLogger(ownership.__name__).addHandler(said)
        ending.start()
        with owning_in_turn("van7", environment):
            assert other.poll() is not None
        ending.join()
        logging.getLogger(ownership.__name__).removeHandler(said)
    assert f"process {other.pid} runs as this agent already: waiting until it ends" in caplog.text


class _Said(logging.Handler):
    """Lets others wait until something is logged."""

    def __init__(self) -> None:
        super().__init__()
        self._event = threading.Event()
        self.wait = self._event.wait

    def emit(self, record: logging.LogRecord) -> None:
        self._event.set()
