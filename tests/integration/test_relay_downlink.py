"""`edge-agent run` with a bus that groups may write to: a fake adapter at a pseudo terminal, and a server of
the test's that hands frames over."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import can
import numpy as np

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.relay_control import Credit
from edge_agent.relay.figures import RelayFigures
from tests.helpers.agents import RegisteredAgent, agent_environment, run_agent, status_of
from tests.helpers.conditions import soon
from tests.helpers.lanes import require_lane
from tests.helpers.lawicel import LawicelAdapter
from tests.helpers.processes import ENVIRONMENT, Process, installed_command
from tests.helpers.relay_server import START, RelayServer
from tests.helpers.uplink_server import serving

LEASE_SECONDS: Final = 0.5
PERMITTED: Final = {
    "transmit": "all",
    "max_age_seconds": 5,
    "lease_seconds": LEASE_SECONDS,
    "asleep_after_seconds": 3600,
    "max_bus_load": 1.0,
    "max_live_bus_load": 1.0,
}
OTHERS: Final = b"t7FF0\r"


def frames(first: int, count: int) -> FrameBatch:
    """Their ids say which they are."""
    return FrameBatch(
        np.arange(count, dtype=np.int64) + 1_766_417_462_000_000_000,
        np.arange(first, first + count, dtype=np.uint32),
        np.zeros(count, np.uint8),
        np.zeros(count, np.uint8),
        np.zeros((count, 8), np.uint8),
    )


def sent(adapter: LawicelAdapter) -> list[int]:
    """The ids of what has come out, in order."""
    return [int(line[1:4], 16) for line in adapter.commands if line[0] == "t"]


class Gateway:
    """An agent, its adapter and its server."""

    def __init__(self, name: str, directory: Path, server: RelayServer, relay: Mapping[str, Any]) -> None:
        self.server, self.relay, self.name = server, relay, name
        self.adapter = LawicelAdapter(answers={"t": b"z\r"})
        home = directory / name
        home.mkdir()
        token = home / f"{name}.token"
        token.touch(0o600)
        token.write_text("secret")
        self.agent = RegisteredAgent(name, token)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        """`edge-agent run`, whose bus is read and awake, and whose sink has said what it takes."""
        dongle = {
            "id": f"{self.agent.agent_id}-bus", "interface": "slcan", "channel": self.adapter.path,
            "bitrate": 500_000, "mode": "normal",
        }  # fmt: skip
        said, hellos = len(self.server.relay_says(Credit)), len(self.server.hellos)
        self.adapter.opened.clear()
        with run_agent(self.agent, self.server.url, [dongle], relay=self.relay) as process:
            await soon(lambda: len(self.server.hellos) > hellos, "hello", 60)
            await soon(self.adapter.opened.is_set, "the adapter is opened", 60)
            await asyncio.to_thread(self.adapter.send, OTHERS)
            if self.relay:
                await self.server.until_relay_says(Credit, said + 1)
                await soon(lambda: self.figures().confirms == "adapter", "the adapter is ready")
            yield process

    def figures(self) -> RelayFigures:
        return status_of(self.agent).relays[0]

    async def command(self, *words: str) -> str:
        """`edge-agent relay ...`, which must succeed."""
        return await asyncio.to_thread(self._command, words)

    def _command(self, words: tuple[str, ...]) -> str:
        home = self.agent.token_file.parent
        command = [
            *installed_command("edge-agent"),
            "relay",
            *words,
            "--config",
            home / f"{self.agent.agent_id}.toml",
        ]
        environment = {**ENVIRONMENT, **agent_environment(home)}
        return subprocess.run(
            list(map(str, command)),
            env=environment,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            timeout=60,
        ).stdout


@asynccontextmanager
async def gateway(
    directory: Path, name: str = "van7", relay: Mapping[str, Any] = PERMITTED
) -> AsyncIterator[Gateway]:
    server = RelayServer()
    async with serving(server):
        one = Gateway(name, directory, server, relay)
        with one.adapter:
            yield one


async def test_what_is_handed_over_comes_out_once_and_in_order_and_is_settled(tmp_path: Path) -> None:
    async with gateway(tmp_path) as one, one.running() as process:
        await one.server.hand_frames(frames(0, 100), 0)
        await one.server.hand_frames(frames(100, 100), 100)
        assert (await one.server.until_settled(200)).totals.accepted == 200
        assert sent(one.adapter) == list(range(200))
        shown = await one.command("show")
        assert shown.startswith("van7-bus: from truck-c\n  0 sent, 200 accepted\n")
        service = status_of(one.agent).service("relay.van7-bus")
        assert service is not None
        assert (service.status, service.metrics["frames_accepted"]) == ("OK", 200)
        side = one.server.hellos[-1].dongles[0].relay
        assert side is not None
        assert side.transmit
        assert await asyncio.to_thread(process.stop) == 0


async def test_without_a_permission_there_is_no_connection_and_beside_it_an_honest_one_is(
    tmp_path: Path,
) -> None:
    async with (
        gateway(tmp_path, "closed", {}) as closed,
        gateway(tmp_path) as honest,
        closed.running(),
        honest.running(),
    ):
        await honest.server.hand_frames(frames(0, 10), 0)
        await honest.server.until_settled(10)
        await closed.server.packets.until(1)
        assert closed.server.opened == 0
        assert sent(closed.adapter) == []
        assert honest.server.opened == 1


async def test_killed_in_the_middle_of_a_burst_nothing_goes_again_and_the_rest_does(tmp_path: Path) -> None:
    async with gateway(tmp_path) as one:
        async with one.running() as process:
            await one.server.hand_frames(frames(0, 40), 0)
            await one.server.until_settled(40)
            one.adapter.mute = True
            await one.server.hand_frames(frames(40, 40), 40)
            await soon(lambda: len(sent(one.adapter)) > 40, "a burst is in the adapter")
            await asyncio.to_thread(process.kill)
        before = sent(one.adapter)
        one.adapter.mute = False
        async with one.running():
            await one.server.hand_frames(frames(40, 40), 40, fresh=False)
            totals = (await one.server.until_settled(80)).totals
            after = sent(one.adapter)
            assert after[: len(before)] == before
            assert after == sorted(set(after)), "each at most once, in order"
            assert after[-1] == 79
            assert totals.accepted + totals.in_doubt == 80
            assert 0 < totals.in_doubt <= 16


async def test_a_server_that_stops_answering_is_silence_within_the_lease(tmp_path: Path) -> None:
    async with gateway(tmp_path) as one, one.running():
        loop, position = asyncio.get_running_loop(), 0
        one.server.answers = False
        end = loop.time() + LEASE_SECONDS
        while loop.time() < end + LEASE_SECONDS:
            if loop.time() <= end:
                quiet = position
            await one.server.hand_frames(frames(position, 1), position)
            position += 1
            await asyncio.sleep(0.01)
        assert position > quiet, "frames were handed after the end"
        assert sent(one.adapter)[-1] <= quiet
        one.server.answers = True
        await soon(lambda: sent(one.adapter)[-1] == position - 1, "it goes on with the next answer")
        assert sent(one.adapter) == list(range(position))


async def test_a_stop_on_the_gateway_holds_until_it_is_started_again(tmp_path: Path) -> None:
    async with gateway(tmp_path) as one:
        async with one.running():
            await one.server.hand_frames(frames(0, 10), 0)
            await one.server.until_settled(10)
            assert "van7-bus: the relay is stopped" in await one.command("stop")
            await one.server.hand_frames(frames(10, 10), 10)
            assert (await one.server.until_settled(20)).totals.not_sent == {"disabled": 10}
            assert "relay stop" in one.figures().stopped
        async with one.running():
            await one.server.hand_frames(frames(20, 10), 20)
            assert (await one.server.until_settled(30)).totals.not_sent == {"disabled": 20}
            assert sent(one.adapter) == list(range(10))
            await one.command("start", "van7-bus")
            await one.server.hand_frames(frames(30, 10), 30)
            await one.server.until_settled(40)
            assert sent(one.adapter) == [*range(10), *range(30, 40)]
            assert one.server.cursors[START].totals.accepted == 20


async def test_a_bus_of_python_can_is_written_to_and_what_others_say_there_keeps_it_awake(
    tmp_path: Path,
) -> None:
    missing = importlib.util.find_spec("msgpack") is None
    require_lane("integration", not missing, "msgpack is missing: `pip install --group dev`")
    group = f"239.74.{uuid.uuid4().int % 250 + 1}.{os.getpid() % 250 + 1}"
    dongle = {
        "id": "van7-bus", "interface": "udp_multicast", "channel": group, "mode": "normal",
        "bitrate": 500_000,
    }  # fmt: skip
    async with gateway(tmp_path) as one:
        with (
            can.Bus(group, "udp_multicast", ignore_config=True) as bus,
            run_agent(one.agent, one.server.url, [dongle], relay=PERMITTED),
        ):
            await one.server.until_relay_says(Credit)
            await one.server.hand_frames(frames(0, 10), 0)
            assert (await one.server.until_settled(10)).totals.not_sent == {"asleep": 10}
            await soon(lambda: _speaks(bus) and one.figures().confirms == "queue", "it is read")
            await one.server.packets.until(2)
            await one.server.hand_frames(frames(10, 10), 10)
            assert (await one.server.until_settled(20)).totals.accepted == 10
            heard: list[int] = []
            while len(heard) < 10 and (said := await asyncio.to_thread(bus.recv, 5)) is not None:
                heard += [] if said.arbitration_id == SPOKEN else [said.arbitration_id]
            assert heard == list(range(10, 20))


SPOKEN = 0x7FF


def _speaks(bus: can.BusABC) -> bool:
    bus.send(can.Message(arbitration_id=SPOKEN, is_extended_id=False))
    return True
