"""The relay as processes, started by their commands, and the bare bridges that it is measured beside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.relay_nodes import IDS, BusName, Node
from tests.helpers.agents import agent_configuration, agent_environment
from tests.helpers.conditions import eventually
from tests.helpers.processes import Argument, EnrolledAgent, Process, StreamServer, installed_command

ROOT: Final = Path(__file__).resolve().parents[1]
_BRIDGE: Final[list[Argument]] = [sys.executable, ROOT / "bench" / "sides" / "relay_bridge.py"]
_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_TICKS: Final = os.sysconf("SC_CLK_TCK")
RELAY: Final[Mapping[str, Any]] = {
    "transmit": "all", "max_age_seconds": 30, "wake": True, "max_bus_load": 1.0, "max_live_bus_load": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """What stands between two buses: `pids` by what they are, `ways` by side where there are any."""

    pids: Mapping[str, int]
    ways: Mapping[str, Process]
    start: Callable[[str], None] = lambda side: None
    server: StreamServer | None = None

    @property
    def cpu_seconds(self) -> float:
        """Of all of them, since they began."""
        return sum(cpu_seconds(pid) for pid in self.pids.values())

    def passed(self, side: str) -> tuple[int, int]:
        """Bytes up and down on the way of this side."""
        self.ways[side].signal(signal.SIGUSR1)
        found = self.ways[side].wait_for_line(r"passed (\d+) (\d+)")
        return int(found[1]), int(found[2])


def cpu_seconds(pid: int) -> float:
    """proc(5): utime and stime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextlib.contextmanager
def bare(buses: Mapping[str, BusName], delay_seconds: float | None = None) -> Iterator[Parts]:
    """Two bridges and their server. `delay_seconds`: of each way, in each direction; None: no way at all."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Process([*_BRIDGE, "server"], environment=_environment()))
        port = int(server.wait_for_line(r"port (\d+)")[1])
        pids, ways = {"server": server.pid}, _ways(stack, port, delay_seconds)
        for side, bus in buses.items():
            url = f"ws://127.0.0.1:{ways[side][1] if ways else port}"
            ids = (IDS[side].start, IDS[side].stop - 1)
            command = [*_BRIDGE, "bridge", bus.interface, bus.channel, bus.port, url, *ids]
            bridge = stack.enter_context(Process(command, environment=_environment()))
            bridge.wait_for_line("connected")
            pids[side] = bridge.pid
        yield Parts(pids, {side: way for side, (way, _) in ways.items()})


@contextlib.contextmanager
def ours(
    buses: Mapping[str, BusName], directory: Path, delay_seconds: float | None = None
) -> Iterator[Parts]:
    """Two agents and their server; the group is active once this is entered."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(StreamServer(directory / "server"))
        ways = _ways(stack, server.port, delay_seconds)
        pids = {"server": server.process.pid}
        agents = {}
        for side in buses:
            (directory / side).mkdir()
            agents[side] = EnrolledAgent(server, f"bench-{side}", directory / side)

        def start(side: str) -> None:
            url = f"http://127.0.0.1:{ways[side][1] if ways else server.port}"
            pids[side] = stack.enter_context(_agent(agents[side], side, buses[side], url)).pid

        for side in buses:
            start(side)
        _activate(server)
        yield Parts(pids, {side: way for side, (way, _) in ways.items()}, start, server)


def until_relayed(found: Mapping[str, Node]) -> None:
    """A frame of each side has come out at the other, and nothing of it is on its way any more."""
    for source, sink in (("a", "b"), ("b", "a")):
        last, at = IDS[source].stop - 1, iter(range(1 << 30))

        def came(source: str = source, sink: str = sink, last: int = last, at: Iterator[int] = at) -> bool:
            found[source].send(last, next(at).to_bytes(4, "big"))
            return bool(found[sink].numbered(last))

        eventually(came, f"{source} is relayed to {sink}")
    time.sleep(1.0)


def _agent(agent: EnrolledAgent, side: str, bus: BusName, url: str) -> Process:
    dongle: dict[str, Any] = {"id": f"{side}-bus", "interface": bus.interface, "channel": bus.channel}
    dongle |= {"mode": "normal", "bitrate": 1_000_000}
    dongle |= {"options": {"port": bus.port}} if bus.port else {}
    path = agent.token_file.with_suffix(".toml")
    server = {"url": url, "token_file": str(agent.token_file)}
    spool = {"directory": str(agent.token_file.with_suffix(".spool"))}
    path.write_text(agent_configuration(agent.agent_id, server, [dongle], spool=spool, relay=RELAY))
    command = [*installed_command("edge-agent"), "run", "--config", path]
    return Process(command, environment=agent_environment(agent.token_file.parent))


def _activate(server: StreamServer) -> None:
    wanted = {"group_id": "bridge", "dongle_a_id": "a-bus", "dongle_b_id": "b-bus"}
    operator = server.create_token("operator")

    def made() -> bool:
        with contextlib.suppress(urllib.error.HTTPError):
            ask(server, operator, "POST", "/groups", wanted)
            return True
        return False

    eventually(made, "both dongles are known")
    ask(server, operator, "POST", "/groups/bridge/activate", {})


def ask(server: StreamServer, token: str, method: str, path: str, body: Mapping[str, Any]) -> Any:
    """A request to the server's API."""
    head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    url = f"{server.url}/api/v1{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), head, method=method)
    with _OPENER.open(request, timeout=20) as answer:
        return json.loads(answer.read() or b"null")


def _ways(
    stack: contextlib.ExitStack, port: int, delay_seconds: float | None
) -> dict[str, tuple[Process, int]]:
    if delay_seconds is None:
        return {}
    found = {}
    for side in "ab":
        command = [*_BRIDGE, "way", port, str(delay_seconds)]
        way = stack.enter_context(Process(command, environment=_environment()))
        found[side] = (way, int(way.wait_for_line(r"port (\d+)")[1]))
    return found


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT)}
