"""What the agent costs a small gateway: memory while it streams, and packages to install."""

from __future__ import annotations

import compileall
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.agents import log_dongle, replay_through, run_agent, wait_for_recorded
from tests.helpers.candump_logs import write_log
from tests.helpers.conditions import eventually
from tests.helpers.counting_bus import CountingBus
from tests.helpers.memory import libraries_as_after_a_boot, resident
from tests.helpers.processes import ENVIRONMENT, EnrolledAgent, StreamServer, replay_summary

# From Python 3.13 on Debian maps more of the same: 20.3 to 21.0 MB of files instead of 19.7 to 20.0.
LARGER_FILES_BYTES: Final = 1_000_000 if sys.version_info >= (3, 13) else 0
MOST_RSS_BYTES: Final = 50_000_000 + LARGER_FILES_BYTES
# What a decoder and the table of a small database add; docs/performance.md has larger ones.
MOST_RSS_BYTES_DECODING: Final = 51_000_000 + LARGER_FILES_BYTES
FRAMES_PER_SECOND: Final = 8_000
LIVE_FRAMES_PER_SECOND: Final = 15_000
# An hour of a full bus takes minutes: FOOTPRINT_FRAMES=28800000.
GROWTH_FRAMES: Final = int(os.environ.get("FOOTPRINT_FRAMES", "600000"))
# What the allocator may hold on to, however long it runs.
MOST_GROWTH_BYTES: Final = 1_500_000
ROOT: Final = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Numpy as it is after a boot, and not as pip has just left it in the page cache."""
    for package in ("can_stream", "edge_agent"):
        compileall.compile_dir(ROOT / package, quiet=1)  # as pip does: to compile takes two megabytes more
    directory = libraries_as_after_a_boot(tmp_path_factory.mktemp("libraries"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENVIRONMENT, "PYTHONPATH", str(directory))
        yield
    shutil.rmtree(directory)


def test_a_streaming_agent_stays_small(tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 40_000, FRAMES_PER_SECOND)
    with StreamServer(tmp_path / "server") as server:
        agent = EnrolledAgent(server, "van7", tmp_path)
        token = server.create_token("viewer")
        with run_agent(agent, server.url, [log_dongle(log, "van7-can0", loop=True)]) as process:
            wait_for_recorded(server, "van7-can0", token, 10 * FRAMES_PER_SECOND)
            assert resident(process.pid).most <= MOST_RSS_BYTES


@pytest.mark.timeout(300 + GROWTH_FRAMES / 10_000)
def test_an_agent_does_not_grow(tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 40_000, FRAMES_PER_SECOND)
    with StreamServer(tmp_path / "server") as server:
        agent = EnrolledAgent(server, "van7", tmp_path)
        token = server.create_token("viewer")
        dongle = log_dongle(log, "van7-can0", loop=True, speed="max")
        with run_agent(agent, server.url, [dongle], uplink={"window_bytes": 262_144}) as process:
            wait_for_recorded(server, "van7-can0", token, GROWTH_FRAMES // 3, GROWTH_FRAMES / 5_000)
            early_bytes = resident(process.pid).most
            wait_for_recorded(server, "van7-can0", token, GROWTH_FRAMES, GROWTH_FRAMES / 5_000)
            assert resident(process.pid).most - early_bytes <= MOST_GROWTH_BYTES


@pytest.mark.timeout(300 + GROWTH_FRAMES / 5_000)
def test_an_agent_on_a_live_bus_does_not_grow(tmp_path: Path) -> None:
    frames = GROWTH_FRAMES // 2
    with StreamServer(tmp_path / "server") as server, CountingBus() as bus:
        agent = EnrolledAgent(server, "van7", tmp_path)
        token = server.create_token("viewer")
        with run_agent(agent, server.url, [bus.dongle("van7-can0")]) as process:
            bus.wait_until_open()
            # What comes before the adapter's answer to that is no part of the bus.
            eventually(lambda: "reading slcan" in process.errors, "the bus is read")
            bus.frames_per_second = LIVE_FRAMES_PER_SECOND
            wait_for_recorded(server, "van7-can0", token, frames // 3, frames / 5_000)
            early_bytes = resident(process.pid).most
            wait_for_recorded(server, "van7-can0", token, frames, frames / 5_000)
            assert resident(process.pid).most - early_bytes <= MOST_GROWTH_BYTES


def test_an_agent_that_decodes_stays_small(tmp_path: Path) -> None:
    log = tmp_path / "drive.log"
    log.write_bytes(subprocess.check_output([sys.executable, ROOT / "scripts" / "demo_drive.py"]))
    with StreamServer(tmp_path / "server") as server:
        agent = EnrolledAgent(server, "van7", tmp_path)
        token = server.create_token("viewer")
        dongle = {
            **log_dongle(log, "van7-can0", loop=True, speed=20.0),
            "databases": [f"{ROOT}/dbc/demo-vehicle.dbc"],
        }
        with run_agent(agent, server.url, [dongle]) as process:
            wait_for_recorded(server, "van7-can0", token, 10 * FRAMES_PER_SECOND)
            assert server.read_json("/api/v1/dongles/van7-can0/signals", token)["signals"]
            assert resident(process.pid).most <= MOST_RSS_BYTES_DECODING


def test_a_replay_stays_small(tmp_path: Path) -> None:
    log = write_log(tmp_path / "drive.log", 80_000, FRAMES_PER_SECOND)
    with StreamServer(tmp_path / "server") as server:
        agent = EnrolledAgent(server, "van7", tmp_path)
        token = server.create_token("viewer")
        options = ["--speed", "2"]
        with replay_through(agent, server.url, log, options=options) as process:
            wait_for_recorded(server, "van7-can0", token, 70_000)
            used_bytes = resident(process.pid).most
            assert replay_summary(process).lost == 0
        assert used_bytes <= MOST_RSS_BYTES


def test_the_agent_needs_no_server_packages() -> None:
    wanted = requires("can-edge-agent") or []
    plain = {re.split(r"[^A-Za-z0-9_-]", one)[0].lower() for one in wanted if "extra ==" not in one}
    assert plain.isdisjoint({"aiohttp", "sqlalchemy", "alembic", "asammdf"})
    assert {"numpy", "websockets", "msgspec"} <= plain
