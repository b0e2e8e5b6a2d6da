"""The lowest versions that pyproject.toml allows, installed: both programs work, and no redirect is followed.

With LOWEST_UNIT_LANE=1 the whole unit lane runs on them, which takes minutes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.helpers.candump_logs import write_log
from tests.helpers.conditions import eventually
from tests.helpers.foreign_servers import ForeignServer, http
from tests.helpers.lanes import require_lane
from tests.helpers.processes import Argument, Process, StreamServer, replay_summary, run_command

ROOT: Final = Path(__file__).resolve().parents[2]
LOWEST: Final = ROOT / "requirements" / "lowest.txt"
_PIN: Final = re.compile(r"^([a-z0-9-]+)==([^ ]+)", re.MULTILINE)
_BOUND: Final = re.compile(r"^([a-z0-9-]+)(?:\[[a-z0-9]+\])?>=([0-9.]+)")


class Lowest:
    """A virtual environment with the lowest versions and this tree's wheel."""

    def __init__(self, directory: Path) -> None:
        self.python: Final = directory / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", directory / "venv"], check=True)
        done = self.pip("--require-hashes", "-r", LOWEST)
        reason = f"the lowest versions cannot be fetched: give pip its index\n{done.stderr[-2000:]}"
        require_lane("integration", done.returncode == 0, reason)
        (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(directory), versions=["standard"])
        self.pip("--no-deps", wheel).check_returncode()

    def pip(self, *arguments: Argument) -> subprocess.CompletedProcess[str]:
        command = [str(self.python), "-m", "pip", "install", "--quiet", *map(str, arguments)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    def program(self, name: str) -> list[Argument]:
        return [self.python, self.python.with_name(name)]


@pytest.fixture(scope="module")
def lowest(tmp_path_factory: pytest.TempPathFactory) -> Lowest:
    return Lowest(tmp_path_factory.mktemp("lowest"))


def bounds() -> Iterator[tuple[str, str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for one in (*project["dependencies"], *project["optional-dependencies"]["server"]):
        found = _BOUND.match(one)
        assert found, f"{one} has no lower bound"
        yield found[1], found[2]


def test_what_is_installed_is_what_pyproject_allows_at_least() -> None:
    pins = {(name, _whole(version)) for name, version in _PIN.findall(LOWEST.read_text())}
    missing = {(name, version) for name, version in bounds() if (name, _whole(version)) not in pins}
    assert not missing, f"run `make lock`: {missing}"


def _whole(version: str) -> str:
    return re.sub(r"(\.0)+$", "", version)


def test_an_agent_enrols_and_streams_to_a_server_and_follows_no_redirect(
    lowest: Lowest, tmp_path: Path
) -> None:
    agent, token = lowest.program("edge-agent"), tmp_path / "token"
    log = write_log(tmp_path / "drive.log", 300, 1_000)
    with StreamServer(tmp_path / "data", program=lowest.program("stream-server")) as server:
        enroll: list[Argument] = [*agent, "enroll", "--server", server.url, "--token-file", "-"]
        secret = server.administer("enroll", "create")
        run_command([*enroll, "--agent-id", "van7", "--out", token], stdin=secret)
        with _replay(agent, server.url, log, token) as replay:
            assert replay_summary(replay).acknowledged == 300
        viewer = server.create_token()
        text = server.read("/api/v1/dongles/van7-can0/frames", viewer).decode()
        assert text.splitlines() == log.read_text().splitlines()
    with ForeignServer(http(404)) as other:
        to_other = http(307, Location=f"ws://localhost:{other.authority.rpartition(':')[2]}/ws/agent")
        with (
            ForeignServer(to_other) as redirecting,
            _replay(agent, f"http://{redirecting.authority}", log, token) as replay,
        ):
            eventually(lambda: "HTTP 307" in replay.errors, "the redirect is said")
            assert any(b"Authorization: Bearer cea_agent_" in asked for asked in redirecting.requests)
        assert other.requests == []


def _replay(agent: Sequence[Argument], url: str, log: Path, token: Path) -> Process:
    options: list[Argument] = ["--speed", "max", "--server", url, "--token-file", token]
    return Process([*agent, "replay", log, *options])


def test_what_is_imported_is_there(lowest: Lowest) -> None:
    found = subprocess.run(
        [lowest.python, "-m", "pip", "list", "--format", "json"], check=True, capture_output=True, text=True
    )
    versions = {one["name"].lower(): one["version"] for one in json.loads(found.stdout)}
    assert _whole(versions["websockets"]) == dict(bounds())["websockets"]
    modules = ("edge_agent.cli.run", "edge_agent.cli.look.doctor", "stream_server.app", "stream_server.cli")
    subprocess.run([lowest.python, "-c", f"import {', '.join(modules)}"], check=True, cwd="/")


if "LOWEST_UNIT_LANE" in os.environ:

    @pytest.mark.timeout(1_800)
    def test_the_unit_lane_passes(lowest: Lowest, tmp_path: Path) -> None:
        pinned = {name for name, _ in _PIN.findall(LOWEST.read_text())}
        pins = (ROOT / "requirements" / "dev.txt").read_text()
        blocks = re.split(r"^(?=[a-z0-9])", pins, flags=re.MULTILINE)
        tools = tmp_path / "tools.txt"
        tools.write_text("".join(one for one in blocks if one.partition("==")[0] not in pinned))
        lowest.pip("--no-deps", "--require-hashes", "-r", tools).check_returncode()
        command = [
            str(lowest.python),
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-n",
            "2",
            "tests/unit",
        ]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-6000:]
