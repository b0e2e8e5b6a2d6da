"""What no server should do: the agent says what is wrong, and streams when a good one is back."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from can_stream.protocol.control import (
    Command,
    Error,
    Welcome,
    encode_control_message,
)
from can_stream.protocol.hop import Ack, RangeKind, encode_ack
from can_stream.protocol.lanes_control import LanesWelcome
from can_stream.protocol.packet_head import PacketNumber
from tests.helpers.agents import recorded_lines, registered_agents, replay_through
from tests.helpers.candump_logs import write_log
from tests.helpers.conditions import eventually
from tests.helpers.hostile_server import Behaviour, HostileServer
from tests.helpers.metered_proxy import MeteredProxy
from tests.helpers.processes import Process, StreamServer, replay_summary

START: Final = "0123456789abcdef"
SECONDS: Final = 20.0


async def slams_the_door(connection: ServerConnection) -> None:
    await connection.close()


async def says_nothing(connection: ServerConnection) -> None:
    await connection.wait_closed()


def says(*messages: str | bytes) -> Behaviour:
    """Waits for the first message, then says these, whatever comes."""

    async def behave(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await connection.recv()
            for message in messages:
                await connection.send(message)
            await connection.wait_closed()

    return behave


async def acks_what_nobody_sent(connection: ServerConnection) -> None:
    """Welcomes everything, and acknowledges packets that were never made."""
    with contextlib.suppress(ConnectionClosed):
        lanes = json.loads(await connection.recv())["lanes"]
        await connection.send(encode_control_message(LanesWelcome([0] * len(lanes), 1_048_576)))
        for seq in (10**9, 2**53):
            await connection.send(encode_ack(Ack(0, RangeKind.LIVE, PacketNumber("f" * 16, seq))))
        await connection.send(encode_ack(Ack(4095, RangeKind.BACKLOG, PacketNumber(START, 1))))
        await connection.wait_closed()


async def gives_a_reason(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        await connection.recv()
        await connection.close(1008, EVIL)


EVIL: Final = "\x1b]0;title\x07\x1b[31mred\nWARNING edge_agent.agent: forged"
WELCOME: Final = encode_control_message(Welcome(1, 30.0, 1_048_576))
GOOD: Final = says(WELCOME)
HOSTILITIES: Final[dict[str, tuple[dict[str, list[Behaviour]], str]]] = {
    "closes": ({"/ws/agent": [slams_the_door]}, "closed|lost"),
    "garbage": ({"/ws/agent": [says(bytes(range(256)))]}, "does not speak this protocol"),
    "text": ({"/ws/agent": [says("hello to you too")]}, "does not speak this protocol"),
    "deep": ({"/ws/agent": [says("[" * 100_000)]}, "does not speak this protocol"),
    "huge": ({"/ws/agent": [says("x" * 3_000_000)]}, "lost"),
    "wrong": ({"/ws/agent": [says(encode_control_message(Command("1", "ping", 1.0)))]}, "welcome expected"),
    "refuses": ({"/ws/agent": [GOOD], "/ws/data": [slams_the_door]}, "closed|lost"),
    "lanes": ({"/ws/agent": [GOOD], "/ws/data": [says('{"type":"lanes_welcome"}')]}, "protocol"),
    "counts": (
        {"/ws/agent": [GOOD], "/ws/data": [says(encode_control_message(LanesWelcome([0] * 9, 1)))]},
        "lanes_welcome",
    ),
    "acks": ({"/ws/agent": [GOOD], "/ws/data": [acks_what_nobody_sent]}, "ack for lane 4095"),
    "bytes": ({"/ws/agent": [GOOD], "/ws/data": [says(b"\xff" * 30)]}, "protocol"),
    "colours": ({"/ws/agent": [says(encode_control_message(Error(EVIL, EVIL)))]}, r"x1b\[31mred"),
    "reason": ({"/ws/agent": [gives_a_reason]}, r"x1b\[31mred"),
    "silent": ({"/ws/agent": [GOOD], "/ws/data": [says_nothing]}, "no answer"),
}


def complained(process: Process, pattern: str, name: str) -> None:
    """The process has said something that matches."""
    eventually(lambda: re.search(pattern, process.errors), f"{pattern!r} after {name!r}")


def test_an_agent_survives_what_no_server_should_do_and_streams_when_a_good_one_is_back(
    tmp_path: Path,
) -> None:
    log = write_log(tmp_path / "drive.log", 300, 1_000)
    wanted = log.read_text().splitlines()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(StreamServer(tmp_path / "server"))
        viewer = server.create_token()
        trials = []
        agents = registered_agents(server, [f"victim-{name}" for name in HOSTILITIES], tmp_path)
        for agent, (name, (paths, complaint)) in zip(agents, HOSTILITIES.items(), strict=True):
            hostile = HostileServer(paths)
            hostile.__enter__()
            process = replay_through(agent, hostile.url, log, options=["--speed", "max"])
            trials.append((name, hostile, stack.enter_context(process), complaint))
        for name, hostile, process, complaint in trials:
            complained(process, complaint, name)
            hostile.__exit__(None, None, None)
            stack.enter_context(MeteredProxy(server.port, port=hostile.port))
        for name, _, process, _ in trials:
            assert replay_summary(process).lost == 0, name
            assert "Traceback" not in process.errors, process.failure(name)
            assert not any(character in process.errors for character in "\x1b\x07"), name
            assert "\nWARNING edge_agent" not in process.errors, name
            assert recorded_lines(server, f"victim-{name}-can0", viewer) == wanted, name
