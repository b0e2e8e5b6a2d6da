"""An agent as the source of a group: what it is told, what it carries for it, and what outlives it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import can
import pytest

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.control import RelaySource
from can_stream.protocol.hop import Envelope
from can_stream.protocol.marker import Marker, activation_name
from can_stream.protocol.packets import decode_packet
from edge_agent.agent import Agent
from edge_agent.config.dongle import DongleSection
from edge_agent.config.frame_filters import FrameFilter
from edge_agent.config.sections import AgentConfig, AgentSection, ServerSection, SpoolSection
from edge_agent.config.transmit import RelaySection
from tests.helpers.conditions import eventually
from tests.helpers.uplink_server import UplinkServer, listening

FIRST = activation_name("ab" * 16, 1)
KEPT_ID, OTHER_ID = 0x7DF, 0x100


@pytest.fixture
def bus(request: pytest.FixtureRequest) -> Iterator[can.BusABC]:
    """What others on the bus send."""
    with can.Bus(request.node.name, "virtual", ignore_config=True) as opened:
        yield opened


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    (tmp_path / "token").write_text("cea_agent_secret")
    (tmp_path / "token").chmod(0o600)
    return tmp_path


def config_of(state: Path, channel: str, url: str, source: bool | None = True) -> AgentConfig:
    """Its frames lane keeps one id, where it is carried for nothing."""
    dongle = DongleSection(
        channel, id="van7-can0", interface="virtual", frame_filters=[FrameFilter(KEPT_ID)], mode="normal"
    )
    return AgentConfig(
        ServerSection(url, str(state / "token")),
        [dongle],
        AgentSection("van7", str(state / "status.sock")),
        spool=SpoolSection(str(state / "spool")),
        relay=RelaySection(source=source),
    )


@contextlib.asynccontextmanager
async def running(config: AgentConfig) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(Agent(config).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


def send(bus: can.BusABC, *ids: int) -> None:
    for one in ids:
        bus.send(can.Message(arbitration_id=one, is_extended_id=False, data=b"\1"))


def carried(envelopes: list[Envelope]) -> list[str | int]:
    """Markers by name, frames by id, in the order of numbers: live packets overtake backlog."""
    told = list[str | int]()
    packets = [decode_packet(one.packet) for one in envelopes]
    order = list(dict.fromkeys(one.number.start_id for one in packets))
    for packet in sorted(packets, key=lambda one: (order.index(one.number.start_id), one.number.seq)):
        body = packet.body
        if isinstance(body, Marker):
            told.append(body.activation)
        elif isinstance(body, FrameBatch):
            told += body.arbitration_id.tolist()
    return told


async def until_carried(server: UplinkServer, *told: str | int) -> None:
    def look() -> bool:
        return carried(server.packets) == [*told]

    await asyncio.to_thread(eventually, look, f"{told} is carried, not {carried(server.packets)}")


async def test_what_is_activated_is_carried_whole_with_its_age_and_by_the_next_start_too(
    bus: can.BusABC, state: Path, request: pytest.FixtureRequest
) -> None:
    async with listening() as server:
        server.wants_ages = True
        async with running(config_of(state, request.node.name, server.url)):
            await server.lanes.until(1)
            side = server.hellos[0].dongles[0].relay
            assert server.hellos[0].relay
            assert side is not None
            assert (side.source, side.transmit) == (True, False)
            await server.tell(RelaySource("van7-can0", FIRST))
            await until_carried(server, FIRST)  # then its bus is open
            send(bus, OTHER_ID, KEPT_ID)
            await until_carried(server, FIRST, OTHER_ID, KEPT_ID)
            age = server.packets[-1].age
            assert age is not None
            assert age.age_us is not None, "read as it came, it is of known age"
            assert 0 < age.age_us < 30_000_000
    async with running(config_of(state, request.node.name, "http://127.0.0.1:9")):
        await asyncio.to_thread(eventually, (state / "spool").exists, "a start without a network")
    activations = state / "state" / "activations-van7.json"
    assert FIRST in activations.read_text()
    async with (
        listening() as server,
        knowing_ages(server),
        running(config_of(state, request.node.name, server.url)),
    ):
        await server.lanes.until(1)
        starts = {one.start_id for one in server.lanes[0].lanes[0].backlog}
        assert len(starts) == 2, "that of the start without a network, and this one"
        assert [one.activation for one in server.lanes[0].lanes[0].backlog if one.first_seq > 1] == [
            FIRST
        ] * 2
        heard = await until_heard(bus, server)
        told = carried(server.packets)
        assert sorted(map(str, told)) == sorted([FIRST, FIRST, *[str(OTHER_ID)] * heard])
        assert told[told.index(OTHER_ID) - 1] == FIRST
        await server.tell(RelaySource("van7-can0", None))
        await asyncio.to_thread(eventually, lambda: "" in carried(server.packets), "the end is marked")
        send(bus, OTHER_ID, KEPT_ID)
        await asyncio.to_thread(eventually, lambda: KEPT_ID in carried(server.packets), "it filters again")
        assert carried(server.packets).count(OTHER_ID) == heard
    assert activations.read_text() == "{}"


@contextlib.asynccontextmanager
async def knowing_ages(server: UplinkServer) -> AsyncIterator[None]:
    """It says so from its first answer on: it knows markers then."""
    server.wants_ages = True
    yield


async def until_heard(bus: can.BusABC, server: UplinkServer) -> int:
    """Sends what the filter leaves out, until some of it comes; how many came, once all that is read is."""

    def look() -> bool:
        send(bus, OTHER_ID)
        return OTHER_ID in carried(server.packets)

    await asyncio.to_thread(eventually, look, "what is on the bus is heard")
    counts = list[int]()

    def is_quiet() -> bool:
        counts.append(carried(server.packets).count(OTHER_ID))
        return len(counts) > 20 and len({*counts[-20:]}) == 1

    await asyncio.to_thread(eventually, is_quiet, "all that was sent has come")
    return counts[-1]


async def test_a_gateway_that_does_not_allow_it_marks_nothing_and_leaves_out_what_it_left_out(
    bus: can.BusABC, state: Path, request: pytest.FixtureRequest
) -> None:
    config = partial(config_of, state, request.node.name, source=None)
    async with listening() as server, running(config(server.url)):
        await server.lanes.until(1)
        side = server.hellos[0].dongles[0].relay
        assert side is not None
        assert not side.source
        await server.tell(RelaySource("van7-can0", FIRST))
        await server.tell(RelaySource("van7-can9", FIRST))

        def look() -> bool:
            send(bus, OTHER_ID, KEPT_ID)
            return len(carried(server.packets)) > 3

        await asyncio.to_thread(eventually, look, "what the filter keeps is carried")
        assert {*carried(server.packets)} == {KEPT_ID}
        assert {one.age for one in server.packets} == {None}
    assert not (state / "state" / "activations-van7.json").exists()
