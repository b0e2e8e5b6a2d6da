"""Networks as gateways meet them: dead addresses and name servers, ways that go, portals, new keys."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.agents import (
    RegisteredAgent,
    agent_environment,
    log_dongle,
    recorded_frames,
    registered_agents,
    run_agent,
)
from tests.helpers.certificates import Authority
from tests.helpers.conditions import eventually
from tests.helpers.foreign_servers import http
from tests.helpers.front import Front
from tests.helpers.lanes import require_lane
from tests.helpers.lawicel import LawicelAdapter
from tests.helpers.network_lab import SERVER, NetworkLab
from tests.helpers.processes import Process, StreamServer, installed_command

NAMES: Final = ["aaaa", "first-a", "no-dns", "way", "moves", "ca", "token", "portal", "nginx", "hangs"]


class World:
    """A server, and agents that it knows by name."""

    def __init__(self, server: StreamServer, directory: Path) -> None:
        self.server = server
        self.viewer = server.create_token()
        self.log = directory / "drive.log"
        self.log.write_text("".join(f"({100 + n / 50:.6f}) can0 100#{n:016X}\n" for n in range(3_000)))
        self.agents = {one.agent_id: one for one in registered_agents(server, NAMES, directory)}

    def run(
        self, name: str, url: str, *, lab: NetworkLab | None = None, ca_file: Path | None = None
    ) -> Process:
        """The agent of this name, which plays a log again and again; inside of `lab` where there is one."""
        dongle = log_dongle(self.log, f"{name}-log", loop=True)
        program = [*(() if lab is None else lab.inside), *installed_command("edge-agent")]
        return run_agent(self.agents[name], url, [dongle], program=program, ca_file=ca_file)

    def arrives(self, name: str, within_seconds: float) -> None:
        """More of its frames arrive at the server."""
        before = recorded_frames(self.server, f"{name}-log", self.viewer)
        eventually(
            lambda: recorded_frames(self.server, f"{name}-log", self.viewer) > before,
            f"frames of {name}",
            within_seconds,
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("networks")
    with StreamServer(directory / "server") as server:
        yield World(server, directory)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkLab]:
    with NetworkLab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


def said(process: Process, pattern: str, within_seconds: float = 20.0) -> re.Match[str]:
    """What it has said that matches, the last time."""
    found: list[re.Match[str]] = []

    def is_there() -> bool:
        found.extend(re.finditer(pattern, process.errors))
        return bool(found)

    eventually(is_there, pattern, within_seconds)
    return found[-1]


# -- addresses and names


@pytest.mark.parametrize(("name", "dead"), [("aaaa", "fd99::dead"), ("first-a", "10.99.0.66")])
def test_a_dead_address_keeps_nobody_offline(world: World, lab: NetworkLab, name: str, dead: str) -> None:
    lab.hosts.write_text(f"127.0.0.1 localhost\n{dead} {name}.test\n10.99.0.1 {name}.test\n")
    with Front(world.server.port, lab.listen("10.99.0.1")) as front:
        url = f"http://{name}.test:{front.port}"
        with world.run(name, url, lab=lab):
            world.arrives(name, within_seconds=8)
        enrol = ["enroll", "--server", url, "--allow-clear-text", "--token-file", "-", "--agent-id", name]
        command = [*lab.inside, *installed_command("edge-agent"), *enrol]
        with Process(command, stdin="cea_enroll_" + "A" * 43) as process:
            assert process.wait(8) == 1
            assert "this enrolment token is not known here" in process.errors


def test_an_agent_stops_in_time_though_its_name_servers_are_dead(world: World, lab: NetworkLab) -> None:
    lab.hosts.write_text("127.0.0.1 localhost\n")
    agent = world.agents["no-dns"]
    with LawicelAdapter() as adapter:
        program = [*lab.inside, *installed_command("edge-agent")]
        dongle = {"id": "no-dns-can0", "interface": "slcan", "channel": adapter.path, "bitrate": 500_000}
        with run_agent(agent, "http://stream.example.com", [dongle], program=program) as process:
            said(process, "reading slcan")
            adapter.send(b"t1232ABCD\r" * 50)
            time.sleep(1.5)  # the look-up has begun to hang, in each family
            began = time.monotonic()
            assert process.stop(5) == 0
            assert time.monotonic() - began < 5


# -- ways


def test_a_route_that_appears_is_taken_at_once(world: World, lab: NetworkLab) -> None:
    with Front(world.server.port, lab.listen(SERVER)) as front:
        with world.run("way", f"http://{SERVER}:{front.port}", lab=lab) as process:
            waits_seconds = float(said(process, r"next attempt after (([3-9]|\d\d)\.\d) s", 60)[1])
            assert "this machine has no way to the network (Network is unreachable)" in process.errors
            began = time.monotonic()
            lab.ip("route", "add", f"{SERVER}/32", "via", "10.99.0.1")
            said(process, "uplink: streaming to", 5)
            assert time.monotonic() - began < waits_seconds
        lab.ip("route", "delete", f"{SERVER}/32")


def test_a_connection_moves_to_the_other_way_when_its_own_goes(world: World, lab: NetworkLab) -> None:
    lab.ip("route", "add", f"{SERVER}/32", "via", "10.99.0.1", "metric", "10")
    with (
        Front(world.server.port, lab.listen(SERVER)) as front,
        world.run("moves", f"http://{SERVER}:{front.port}", lab=lab) as process,
    ):
        world.arrives("moves", within_seconds=8)
        lab.ip("link", "set", "a0", "down")
        lab.ip("route", "add", f"{SERVER}/32", "via", "10.98.0.1", "metric", "20")
        said(
            process, r"the network has changed, and no answer comes any more\)(.|\n)*uplink: streaming to", 5
        )
        world.arrives("moves", within_seconds=5)
    lab.ip("route", "delete", f"{SERVER}/32", "metric", "20")


# -- who answers, and with what key


def test_a_portal_is_told_and_left_behind(world: World) -> None:
    with Front(world.server.port) as front:
        front.answer = http(302, Location="http://login.example.net/")
        with world.run("portal", f"http://127.0.0.1:{front.port}") as process:
            said(process, r"HTTP 302 to http://login.example.net\): it is a captive portal")
            agent = world.agents["portal"]
            path = agent.token_file.with_suffix(".toml")
            command = [*installed_command("edge-agent"), "doctor", "--config", path]
            with Process(command, environment=agent_environment(agent.token_file.parent)) as doctor:
                assert doctor.wait(15) == 1
            assert "HTTP 302 to http://login.example.net): it is a captive portal" in doctor.output
            assert "enroll" not in doctor.output
            front.answer = None
            process.signal(signal.SIGHUP)
            world.arrives("portal", within_seconds=5)


def test_another_ca_file_is_trusted_at_once(world: World, tmp_path: Path) -> None:
    old, new = Authority(tmp_path / "old", "old"), Authority(tmp_path / "new", "new")
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(old.pem.read_bytes())
    with Front(world.server.port) as front:
        front.tls = old.server()
        with world.run("ca", f"https://localhost:{front.port}", ca_file=ca_file) as process:
            world.arrives("ca", within_seconds=8)
            front.tls = new.server()
            front.cut()
            said(process, "is of a CA that this machine does not know")
            ca_file.write_bytes(new.pem.read_bytes())
            world.arrives("ca", within_seconds=4)


def test_another_token_is_tried_at_once(world: World) -> None:
    agent: RegisteredAgent = world.agents["token"]
    good = agent.token_file.read_text()
    agent.token_file.write_text("cea_agent_" + "A" * 43)
    with world.run("token", world.server.url) as process:
        refusal = said(process, r"refuses this agent's token \(HTTP 401.*next attempt after (\d+)")
        assert int(refusal[1]) >= 150
        agent.token_file.write_text("")
        agent.token_file.write_text(good)
        world.arrives("token", within_seconds=4)


@contextlib.contextmanager
def nginx(location: str, directory: Path) -> Iterator[str]:
    """nginx with this location; its address."""
    command = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    require_lane("integration", command is not None, "nginx is missing: apt install nginx-light")
    assert command is not None
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    temporary = " ".join(
        f"{kind}_temp_path {directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = directory / "nginx.conf"
    path.write_text(
        f"daemon off; master_process off; pid {directory}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {temporary}\n server {{ listen 127.0.0.1:{port};\n{location}\n}} }}\n"
    )
    with Process([command, "-p", directory, "-c", path, "-e", "stderr"]) as process:
        eventually(lambda: _listens(port), "nginx", 10)
        yield f"http://127.0.0.1:{port}"
        assert process.is_running


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def test_the_recipe_for_nginx_lets_agents_through_and_less_is_told(world: World, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    recipe = page.partition("```nginx\n")[2].partition("```")[0]
    recipe = recipe.replace("127.0.0.1:8080", f"127.0.0.1:{world.server.port}")
    least = f"location / {{ proxy_pass {world.server.url}; }}"
    with nginx(least, tmp_path) as url, world.run("nginx", url) as process:
        said(process, r"reached without its Upgrade header \(HTTP 426, UPGRADE_REQUIRED.*reverse proxy")
    with nginx(recipe, tmp_path) as url, world.run("nginx", url):
        world.arrives("nginx", within_seconds=8)


def test_an_agent_stops_in_time_though_its_server_hangs(world: World) -> None:
    """The last test here: it leaves the server as it is."""
    with world.run("hangs", world.server.url) as process:
        world.arrives("hangs", within_seconds=8)
        world.server.process.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            process.signal(signal.SIGTERM)
            process.wait(6)
            assert time.monotonic() - began < 5.5, "5 s, and what a loaded machine takes"
        finally:
            world.server.process.signal(signal.SIGCONT)
