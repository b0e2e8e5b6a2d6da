"""Agents and servers of two releases, killed at random: each serves the other, and what either has written
is read by this one. What is counted is the recording; gaps are asserted from above as well."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.agents import (
    agent_environment,
    recorded_frames,
    run_agent,
    status_of,
    wait_for_recorded,
)
from tests.helpers.conditions import eventually
from tests.helpers.counting_bus import CountingBus
from tests.helpers.nginx import Nginx, require_nginx
from tests.helpers.numbered_recording import START, NumberedRecording, numbered_recording
from tests.helpers.processes import EnrolledAgent, Process, StreamServer, installed_command, run_command
from tests.helpers.releases import VERSION_1, older_release, program

DONGLE: Final = "van7-can0"
FRAMES_PER_SECOND: Final = 1_000
# What it may lose by a kill; more than the default, so that a busy machine is no finding.
FLUSH_SECONDS: Final = 0.5
_CONNECT_SECONDS: Final = 60.0


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tree of the release whose both sides speak version 1 alone."""
    directory = tmp_path_factory.mktemp("older")
    yield older_release(VERSION_1, directory)
    shutil.rmtree(directory)


class Site:
    """One server, one bus, one agent, each of the release that the test says; None: this tree's."""

    def __init__(self, server: StreamServer, bus: CountingBus, directory: Path) -> None:
        self.server, self.bus, self.directory = server, bus, directory
        self.agent = EnrolledAgent(server, "van7", directory)
        self.token = server.create_token("viewer")
        self._starts = 0

    def start(self, release: Path | None) -> Process:
        """The agent; it reads the bus."""
        self._starts += 1
        process = run_agent(
            self.agent,
            self.server.url,
            [self.bus.dongle(DONGLE)],
            spool={"flush_seconds": FLUSH_SECONDS},
            program=program("edge-agent", release),
        )
        self.bus.wait_until_open(self._starts)
        eventually(lambda: "reading slcan" in process.errors, "the bus is read")
        return process

    def serve(self, release: Path | None) -> None:
        """The server goes on, with its data directory, as that release."""
        self.server.process.kill()
        self.server.program = program("stream-server", release)
        self.server.start()

    def wait_for(self, frames: int) -> None:
        """So many are recorded."""
        wait_for_recorded(self.server, DONGLE, self.token, frames, _CONNECT_SECONDS)

    def wait_for_all(self, fed: int) -> None:
        """All are recorded, but for those that the kills cost: the newest of each life is there."""
        eventually(
            lambda: self.recording().numbers[-1:] == [fed - 1], "the newest is there", _CONNECT_SECONDS
        )

    def recording(self) -> NumberedRecording:
        """What the server has."""
        return numbered_recording(self.server, DONGLE, self.token)

    @property
    def on_disk(self) -> int:
        """How many frames, as the agent says it."""
        return int(status_of(self.agent).metric("spool", "frames"))

    def status(self) -> str:
        """The first line of `edge-agent status`."""
        command = [*installed_command("edge-agent"), "status", "--config", self.directory / "van7.toml"]
        inside = [f"{name}={value}" for name, value in agent_environment(self.directory).items()]
        return run_command(["env", *inside, *command]).splitlines()[0]


@contextmanager
def site(tmp_path: Path, release: Path | None) -> Iterator[Site]:
    """A server of that release."""
    served = StreamServer(tmp_path / "server", program=program("stream-server", release))
    with served as server, CountingBus() as bus:
        yield Site(server, bus, tmp_path)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("old_side", ["agent", "server"])
def test_both_releases_under_kills_lose_no_more_than_a_kill_may_cost(
    tmp_path: Path, older: Path, old_side: str
) -> None:
    chance = random.Random(f"{old_side} 20261129")
    agent_release, server_release = (older, None) if old_side == "agent" else (None, older)
    may_cost: set[int] = set()
    with site(tmp_path, server_release) as one:
        process = one.start(agent_release)
        try:
            for victims in chance.sample(["agent", "server", "both", "outage"], 4):
                one.bus.frames_per_second = FRAMES_PER_SECOND
                time.sleep(chance.uniform(0.3, 1.2))  # how long it lives is what is drawn here
                if victims != "agent":
                    one.server.process.kill()
                if victims != "server":
                    safe = one.bus.sent
                    time.sleep(FLUSH_SECONDS + 0.3)
                    process.close()
                    may_cost.update(range(safe, one.bus.pause()))
                    if victims == "outage":
                        process = one.start(agent_release)
                        one.bus.send(500)
                if victims != "agent":
                    one.serve(server_release)
                if victims in ("agent", "both"):
                    process = one.start(agent_release)
            fed = one.bus.pause()
            one.bus.send(100)  # streaming goes on
            one.wait_for_all(fed + 100)
            # The first packets of a start may be backlog, which comes after what is live.
            eventually(lambda: len(one.recording().gaps) == 4, "every start is told of", _CONNECT_SECONDS)
            # What a kill may have cost can be on the disk all the same, and arrive behind what was live.
            eventually(
                lambda: (
                    not (found := one.recording()).unexplained
                    and may_cost.issuperset(found.missing(fed + 100))
                ),
                "all that is on the disk is there, and no more is missing",
                _CONNECT_SECONDS,
            )
        finally:
            process.close()
        found = one.recording()
        found.assert_in_order()
        assert found.said == [START] * 4


@pytest.mark.timeout(180)
@pytest.mark.parametrize("served_by", ["the older one", "this one"])
def test_a_backlog_that_an_older_agent_left_is_handed_over_once(
    tmp_path: Path, older: Path, served_by: str
) -> None:
    server_release = older if served_by == "the older one" else None
    with site(tmp_path, server_release) as one:
        with one.start(older) as process:
            one.bus.send(500)
            one.wait_for(500)
            one.server.process.kill()
            one.bus.send(4_000)
            eventually(lambda: one.on_disk == 4_000, "all are on disk")
            process.kill()
        one.serve(server_release)
        with one.start(None):
            one.bus.send(100)
            one.wait_for(4_600)
        found = one.recording()
        assert found.numbers == list(range(4_600))
        assert found.said == [START] * 2


@pytest.mark.timeout(180)
def test_a_data_directory_of_an_older_server_goes_on_here_with_what_its_agents_send(
    tmp_path: Path, older: Path
) -> None:
    with site(tmp_path, older) as one:
        with one.start(older) as process:
            one.bus.send(1_000)
            one.wait_for(1_000)
            one.server.process.kill()
            one.bus.send(2_000)
            one.serve(None)  # it lists what the older one never heard of
            one.wait_for(3_000)
            one.bus.send(500)
            one.wait_for(3_500)
            one.server.process.kill()
            one.bus.send(500)
            eventually(lambda: one.on_disk == 500, "all are on disk")
            process.kill()
        one.serve(None)
        with one.start(None):
            one.bus.send(100)
            one.wait_for(4_100)
        found = one.recording()
        assert found.numbers == list(range(4_100))
        assert found.said == [START] * 2
        assert recorded_frames(one.server, DONGLE, one.token) == 4_100


@pytest.mark.timeout(180)
def test_a_server_is_replaced_by_a_newer_one_while_an_agent_runs(tmp_path: Path, older: Path) -> None:
    with site(tmp_path, older) as one, one.start(None) as process:
        one.bus.frames_per_second = FRAMES_PER_SECOND
        one.wait_for(1_500)
        one.server.process.kill()  # what is on its way, and not acknowledged
        before = one.bus.sent
        eventually(lambda: one.bus.sent > before + 1_500, "some wait on disk")
        one.serve(older)
        one.wait_for(before // 2)
        one.serve(None)
        one.wait_for(before + 1_500)
        one.serve(None)
        eventually(lambda: one.bus.sent > before + 4_000, "the newer one has served it for a while")
        fed = one.bus.pause()
        one.wait_for(fed)
        found = one.recording()
        assert found.numbers == list(range(fed))
        assert found.said == [START]
        eventually(
            lambda: f"0 lost of {fed:,}".replace(",", " ") in one.status(), "nothing is said to be lost"
        )
        assert process.is_running


@pytest.mark.timeout(180)
def test_what_waits_since_a_newer_server_is_handed_over_to_an_older_one(tmp_path: Path, older: Path) -> None:
    """As where an update is taken back, with the backup of before: packets with positions meet version 1."""
    with site(tmp_path, older) as one:
        data, backup = tmp_path / "server", tmp_path / "backup"
        one.server.process.kill()
        shutil.copytree(data, backup)
        one.serve(None)
        with one.start(None) as process:
            one.bus.send(500)
            one.wait_for(500)
            eventually(lambda: one.on_disk == 0 and process.is_running, "all is acknowledged")
            one.server.process.kill()
            one.bus.send(4_000)
            eventually(lambda: one.on_disk == 4_000, "all are on disk")
            shutil.rmtree(data)
            backup.rename(data)
            one.serve(older)
            one.bus.send(100)
            one.wait_for(4_100)
            found = one.recording()
            assert found.numbers == list(range(500, 4_600)), "what it acknowledged is gone with the newer one"
            one.serve(None)
            one.bus.send(100)
            one.wait_for(4_200)
            found = one.recording()
            assert found.numbers == list(range(500, 4_700))


@pytest.mark.timeout(180)
def test_a_proxy_that_takes_the_version_away_is_named_and_costs_nothing(tmp_path: Path) -> None:
    """What said positions to a server is not sent without: it would not be known which are the same."""
    upgrade = (
        "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
    )
    require_nginx("integration")
    with site(tmp_path, None) as one, Nginx(tmp_path, one.server.port, upgrade) as proxy:
        with run_agent(one.agent, proxy.url, [one.bus.dongle(DONGLE)]) as process:
            eventually(lambda: "reading slcan" in process.errors, "the bus is read")
            one.bus.send(500)
            one.wait_for(500)
            away = 'proxy_set_header Sec-WebSocket-Protocol "";'
            target = f"proxy_pass http://127.0.0.1:{one.server.port}"
            proxy.start(f"location /ws/ {{ {target}; {upgrade} {away} }}")
            one.bus.send(1_000)
            eventually(lambda: "lets Sec-WebSocket-Protocol pass" in process.errors, "the proxy is named")
            eventually(lambda: one.on_disk == 1_000, "all are on disk")
            proxy.start()
            one.wait_for(1_500)
        found = one.recording()
        assert found.numbers == list(range(1_500))
        assert found.said == [START]
