"""A server that wants too much of an agent: it gets what is within reason, and a stop takes seconds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from can_stream.protocol.control import Command, TablesWanted, Welcome, encode_control_message
from can_stream.protocol.hop import Ack, RangeKind, encode_ack
from can_stream.protocol.lanes_control import LanesWelcome
from can_stream.protocol.packet_head import PacketNumber
from tests.helpers.agents import RegisteredAgent, log_dongle, run_agent
from tests.helpers.candump_logs import write_log
from tests.helpers.conditions import eventually
from tests.helpers.hostile_server import Behaviour, HostileServer
from tests.helpers.processes import Process

DATABASE: Final = Path(__file__).resolve().parents[2] / "dbc" / "demo-vehicle.dbc"
STOP_SECONDS: Final = 5.0
GREED: Final = "it wants more than an agent bears"


class Greedy:
    """Welcomes everybody, and then wants something for as long as it is let; `got` by type and in bytes."""

    def __init__(self, wants: str, heartbeat_seconds: float = 30.0) -> None:
        self.got: Counter[str] = Counter()
        self.is_over = threading.Event()
        self._wants = wants
        self._heartbeat_seconds = heartbeat_seconds
        self._hashes: list[str] = []
        self._has_packets = asyncio.Event()

    @property
    def paths(self) -> dict[str, list[Behaviour]]:
        return {"/ws/agent": [self._control], "/ws/data": [self._data]}

    async def _control(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            hello = json.loads(await connection.recv())
            self._hashes = [one for dongle in hello["dongles"] for one in dongle.get("signal_tables", [])]
            await connection.send(encode_control_message(Welcome(1, self._heartbeat_seconds, 1_048_576)))
            await asyncio.gather(self._listen(connection), self._want(connection, "control"))

    async def _data(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            lanes = json.loads(await connection.recv())["lanes"]
            await connection.send(encode_control_message(LanesWelcome([0] * len(lanes), 1_048_576)))
            await asyncio.gather(self._listen(connection), self._want(connection, "data"))

    async def _listen(self, connection: ServerConnection) -> None:
        if self._wants == "nothing":
            connection.transport.pause_reading()
            await asyncio.to_thread(self.is_over.wait)
            connection.transport.abort()
        async for content in connection:
            kind = "packet" if isinstance(content, bytes) else json.loads(content)["type"]
            self.got[kind] += 1
            self.got["bytes"] += len(content)
            if kind == "packet":
                self._has_packets.set()

    async def _want(self, connection: ServerConnection, place: str) -> None:
        await self._has_packets.wait()
        while (message := self._next(place)) is not None:
            await (connection.ping() if message == "ping" else connection.send(message))
            await asyncio.sleep(0)

    def _next(self, place: str) -> str | bytes | None:
        match self._wants, place:
            case "tables", "control":
                return encode_control_message(TablesWanted((self._hashes * 512)[:512]))
            case "commands", "control":
                return encode_control_message(Command("1", "rm", 1.0))
            case "pings", _:
                return "ping"
            case "acks", "data":
                return encode_ack(Ack(0, RangeKind.LIVE, PacketNumber("f" * 16, 10**9)))
        return None


@pytest.fixture
def dongle(tmp_path: Path) -> dict[str, Any]:
    log = write_log(tmp_path / "drive.log", 400, 10_000)
    return {**log_dongle(log, "van7-can0", loop=True), "databases": [str(DATABASE)]}


@contextlib.contextmanager
def met(greedy: Greedy, directory: Path, dongle: dict[str, Any], **uplink: int) -> Iterator[Process]:
    directory.mkdir()
    token_file = directory / "van7.token"
    token_file.touch(0o600)
    token_file.write_text("cea_agent_" + "x" * 43)
    agent = RegisteredAgent("van7", token_file)
    with HostileServer(greedy.paths) as server, run_agent(agent, server.url, [dongle], uplink=uplink) as one:
        yield one
        greedy.is_over.set()


def said(agent: Process, text: str) -> bool:
    return text in agent.errors


def test_what_it_wants_has_a_bound_and_so_has_the_stop(tmp_path: Path, dongle: dict[str, Any]) -> None:
    with contextlib.ExitStack() as stack:
        trials = {wants: Greedy(wants) for wants in ("tables", "commands", "pings", "acks", "nothing")}
        agents = {
            wants: stack.enter_context(met(greedy, tmp_path / wants, dongle))
            for wants, greedy in trials.items()
        }
        for wants, agent in agents.items():
            awaited = "uplink: streaming to" if wants == "nothing" else GREED
            eventually(partial(said, agent, awaited), awaited)
        for agent in agents.values():
            agent.signal(signal.SIGTERM)
        for wants, agent in agents.items():
            assert agent.wait(STOP_SECONDS) == 0, wants
            assert "Traceback" not in agent.errors, agent.failure(wants)
    for wants, greedy in trials.items():
        connections = agents[wants].errors.count("uplink: streaming to")
        # What it is there for came all the same.
        assert greedy.got["packet"] > 0 or wants == "nothing"
        assert greedy.got["signal_table"] <= connections
        assert greedy.got["command_status"] <= 250 * connections


def test_a_spent_budget_holds_all_but_presence(tmp_path: Path, dongle: dict[str, Any]) -> None:
    greedy = Greedy("once", 1.0)
    with met(greedy, tmp_path / "agent", dongle, max_bytes_per_day=12_000) as process:
        eventually(lambda: greedy.got["heartbeat"] >= 3, "presence goes on")
        assert "neither frames nor signals are sent" in process.errors
        spent_on = {kind: greedy.got[kind] for kind in ("packet", "signal_table", "log", "discovery")}
        eventually(lambda: greedy.got["heartbeat"] >= 5, "presence goes on still")
        assert {kind: greedy.got[kind] for kind in spent_on} == spent_on
        assert greedy.got["bytes"] < 24_000
