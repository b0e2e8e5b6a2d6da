"""Two agents with a bus each, a server, and a group of their dongles: all of them processes."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import can

from tests.helpers.agents import TokenHolder, agent_configuration, agent_environment
from tests.helpers.conditions import eventually
from tests.helpers.group_requests import GroupOperator
from tests.helpers.processes import EnrolledAgent, Process, StreamServer, installed_command

GROUP: Final = "bridge"
SIDES: Final = ("a", "b")
ALL: Final = {"transmit": "all", "max_age_seconds": 2, "wake": True}


class Node:
    """Another node of one bus: what it sends, and every frame that is on the bus, in order."""

    def __init__(self, channel: str, port: int) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.at_seconds: list[float] = []
        self._bus = can.Bus(channel, "udp_multicast", port=port, ignore_config=True)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def send(self, arbitration_id: int, data: bytes) -> None:
        """One frame."""
        self._bus.send(can.Message(arbitration_id=arbitration_id, is_extended_id=False, data=data))

    def numbered(self, arbitration_id: int) -> list[int]:
        """The numbers that frames of this id carry, in the order in which they were on the bus."""
        return [int.from_bytes(data[:4], "big") for one, data in list(self.frames) if one == arbitration_id]

    def close(self) -> None:
        """Off the bus."""
        self._ended.set()
        self._thread.join()
        self._bus.shutdown()

    def _read(self) -> None:
        while not self._ended.is_set():
            message = self._bus.recv(0.05)
            if message is not None:
                self.at_seconds.append(time.monotonic())
                self.frames.append((message.arbitration_id, bytes(message.data)))


class RelayedGroup:
    """`nodes` by side; `agents` are those that run. Nothing is relayed before `activate`."""

    def __init__(
        self, directory: Path, relay: Mapping[str, Mapping[str, Any]], databases: Sequence[str] = ()
    ) -> None:
        self.relay = relay
        self._databases = list(databases)
        self._parts = ExitStack()
        self.server = self._parts.enter_context(StreamServer(directory / "server"))
        self.viewer = self.server.create_token()
        self._operator = GroupOperator(self.server)
        numbers = uuid.uuid4().bytes
        # Groups on one port are one bus: the kernel gives a socket whatever any socket here has joined.
        self.ports = {
            side: 20_000 + 2 * int.from_bytes(numbers[4:6], "big") % 20_000 + at
            for at, side in enumerate(SIDES)
        }
        self.channels = {
            side: f"239.74.{numbers[at]}.{os.getpid() % 250 + 1}" for at, side in enumerate(SIDES)
        }
        self.enrolled: dict[str, TokenHolder] = {
            side: EnrolledAgent(self.server, f"van-{side}", self._place(directory, side)) for side in SIDES
        }
        self.nodes: dict[str, Node] = {}
        for side in SIDES:
            self.nodes[side] = Node(self.channels[side], self.ports[side])
            self._parts.callback(self.nodes[side].close)
        self.agents: dict[str, Process] = {}
        for side in SIDES:
            self.start(side)

    def close(self) -> None:
        """All of it ends."""
        for agent in self.agents.values():
            agent.close()
        self._parts.close()

    def start(self, side: str) -> Process:
        """The agent of this side."""
        token = self.enrolled[side].token_file
        path = token.with_suffix(".toml")
        sections = {"spool": {"directory": str(token.with_suffix(".spool"))}, "relay": self.relay[side]}
        server = {"url": self.server.url, "token_file": str(token)}
        path.write_text(agent_configuration(f"van-{side}", server, self.dongles(side), **sections))
        command = [*installed_command("edge-agent"), "run", "--config", path]
        agent = Process(command, environment=agent_environment(token.parent))
        self.agents[side] = agent
        return agent

    def dongles(self, side: str) -> list[dict[str, Any]]:
        """Those of the agent of this side."""
        bus = udp_dongle(f"{side}-bus", self.channels[side], self.ports[side])
        return [bus | {"databases": self._databases}]

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """An operator's request below /api/v1/groups."""
        return self._operator.ask(method, path, body)

    def make(self) -> None:
        """The group, once both dongles are known."""
        self._operator.make(GROUP, "a-bus", "b-bus")

    def activate(self, **body: Any) -> None:
        """And wait until frames get through wherever they may."""
        self.ask("POST", f"/{GROUP}/activate", body)

    @property
    def state(self) -> Mapping[str, Any]:
        """What the server says of the group."""
        state: Mapping[str, Any] = self.ask("GET", f"/{GROUP}")
        return state

    def until_relayed(self, way: Sequence[str], arbitration_id: int = 0x7F0) -> None:
        """A frame of one side comes out at the other."""
        source, sink = way

        def relayed() -> bool:
            self.nodes[source].send(arbitration_id, time.monotonic_ns().to_bytes(8, "big"))
            return bool(self.nodes[sink].numbered(arbitration_id))

        eventually(relayed, f"{source} is relayed to {sink}")

    @staticmethod
    def _place(directory: Path, side: str) -> Path:
        place = directory / side
        place.mkdir()
        return place


def udp_dongle(
    dongle_id: str, channel: str, port: int, mode: str = "normal", bitrate: int = 500_000
) -> dict[str, Any]:
    """A dongle of python-can's `udp_multicast`."""
    return {
        "id": dongle_id,
        "interface": "udp_multicast",
        "channel": channel,
        "mode": mode,
        "bitrate": bitrate,
        "options": {"port": port},
    }


@contextmanager
def relayed_group(
    directory: Path,
    a: Mapping[str, Any] = ALL,
    b: Mapping[str, Any] = ALL,
    databases: Sequence[str] = (),
) -> Iterator[RelayedGroup]:
    """A group that is made and not activated, of two sides with these [relay] sections, and databases."""
    group = RelayedGroup(directory, {"a": a, "b": b}, databases)
    try:
        group.make()
        yield group
    finally:
        group.close()
