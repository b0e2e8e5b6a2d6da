"""The relay of an agent whole: real sinks, records, runners and connection, with a bus of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.protocol.control import CanEmptyQueue, Confirms
from can_stream.protocol.relay_control import Credit, GroupStanding, RelayPing, RelayPong
from edge_agent.config.transmit import AllowEntry, RelaySection
from edge_agent.errors import SourceError
from edge_agent.host.clock import Clock
from edge_agent.relay.relaying import Places, Relay, Target
from edge_agent.relay.running import BusRates
from edge_agent.relay.stopping import start, stop, stop_file
from edge_agent.transmit.policy import TargetBus
from edge_agent.uplink.counts import UplinkCounts
from edge_agent.uplink.keys import Keys
from edge_agent.uplink.opening import ServerDoor
from tests.helpers.conditions import running, soon
from tests.helpers.relay_server import START, RelayServer
from tests.helpers.uplink_server import serving

PERMITTED = RelaySection(
    transmit="all", max_age_seconds=2.0, lease_seconds=0.5, max_bus_load=1.0, max_live_bus_load=1.0
)


def frames(first: int, count: int, flag: int = 0) -> FrameBatch:
    """Their ids say which they are."""
    return FrameBatch(
        np.arange(count, dtype=np.int64) + 1_766_417_462_000_000_000,
        np.arange(first, first + count, dtype=np.uint32),
        np.full(count, flag, np.uint8),
        np.full(count, 8, np.uint8),
        np.zeros((count, 8), np.uint8),
    )


class EchoingBus:
    """A bus that gives back what is put on it; `seen` are the ids of that. `echoes`: whether it does."""

    def __init__(self, confirms: Confirms = "bus") -> None:
        self.confirms: Confirms = confirms
        self.can_empty_queue: CanEmptyQueue = "counters"
        self.seen: list[int] = []
        self.echoes = True
        self.is_up = True
        self.relay: Relay | None = None
        self.rates = BusRates(TargetBus(listen_only=False, fd=False), 500_000, None)

    @property
    def writer(self) -> EchoingBus:
        return self

    def hurry(self, _: float) -> None:
        """It is read at once anyway."""

    def reopen(self, why: SourceError) -> None:
        raise why

    def write(self, burst: FrameBatch) -> int:
        self.seen += burst.arbitration_id.tolist()
        if self.echoes:
            assert self.relay is not None
            echo = FrameBatch(
                burst.timestamp_ns, burst.arbitration_id, burst.flags | np.uint8(FrameFlag.TX),
                burst.length, burst.data,
            )  # fmt: skip
            asyncio.get_running_loop().call_soon(self.relay.hear, "van-a", echo)
        return len(burst)

    def is_empty(self) -> bool | None:
        return self.echoes


class Whole:
    """A server, and the agent's side, which can be killed and begun again."""

    def __init__(self, directory: Path, server: RelayServer, bus: EchoingBus, section: RelaySection) -> None:
        self.directory, self.server, self.bus, self.section = directory, server, bus, section
        self.changes = 0

    @asynccontextmanager
    async def agent(self, *, awake: bool = True) -> AsyncIterator[Relay]:
        """It runs meanwhile; what it was about when it ends is left to the next one."""
        target = Target("van-a", self.bus)
        door = ServerDoor(self.server.url, Keys("token"), UplinkCounts())
        places = Places(self.directory / "state", self.directory)
        relay = self.bus.relay = Relay(
            self.section, [target], places, door, START, Clock(), lambda: True, self._change
        )
        if awake:
            relay.hear("van-a", frames(0x7FF, 1))
        said = len(self.server.relay_says(Credit))
        async with running(relay.run()):
            await self.server.until_relay_says(Credit, said + 1)
            yield relay

    def _change(self) -> None:
        self.changes += 1


@asynccontextmanager
async def whole(
    directory: Path, bus: EchoingBus | None = None, section: RelaySection = PERMITTED
) -> AsyncIterator[Whole]:
    server = RelayServer()
    async with serving(server):
        yield Whole(directory, server, bus or EchoingBus(), section)


async def test_what_is_handed_over_comes_out_in_order_each_once_and_is_settled(tmp_path: Path) -> None:
    async with whole(tmp_path) as all_of_it, all_of_it.agent() as relay:
        server, bus = all_of_it.server, all_of_it.bus
        for number in range(20):
            await server.hand_frames(frames(10 * number, 10), 10 * number)
        cursor = await server.until_settled(200)
        assert bus.seen == list(range(200))
        assert cursor.totals.sent == 200
        (one,) = relay.figures()
        assert (one.connected, one.source_dongle_id, one.confirms) == (True, "truck-c", "bus")
        assert one.totals.sent == 200
        assert relay.side("van-a").stopped == ""


async def test_what_the_gateway_and_the_server_know_of_a_bus_is_told(tmp_path: Path) -> None:
    """For whoever asks why nothing is relayed."""
    bus = EchoingBus()
    async with whole(tmp_path, bus) as all_of_it, all_of_it.agent(awake=False) as relay:
        (one,) = relay.figures()
        assert (one.asleep, one.bit_rate, one.group) == (True, 500_000, None)
        relay.hear("van-a", frames(0x7FF, 1))
        bus.rates = BusRates(TargetBus(listen_only=False, fd=False), None, None)
        standing = GroupStanding("van-a", "vans", "degraded", "loop: x")
        await all_of_it.server.say_to_sink(RelayPong(10_000, [], [standing]))
        await soon(lambda: relay.figures()[0].group == standing, "it is told of its group")
        (one,) = relay.figures()
        assert (one.asleep, one.bit_rate) == (False, 0)


async def test_a_queue_that_confirms_is_accepted(tmp_path: Path) -> None:
    async with whole(tmp_path, EchoingBus("queue")) as all_of_it, all_of_it.agent():
        await all_of_it.server.hand_frames(frames(0, 30), 0)
        assert (await all_of_it.server.until_settled(30)).totals.accepted == 30
        assert all_of_it.bus.seen == list(range(30))


async def test_what_the_file_does_not_allow_never_goes_and_the_rest_does(tmp_path: Path) -> None:
    section = RelaySection(
        transmit="allowlist", allow=[AllowEntry(5)], max_age_seconds=2.0, lease_seconds=0.5
    )
    async with whole(tmp_path, section=section) as all_of_it, all_of_it.agent() as relay:
        await all_of_it.server.hand_frames(frames(0, 10), 0)
        totals = (await all_of_it.server.until_settled(10)).totals
        assert all_of_it.bus.seen == [5]
        assert (totals.sent, totals.not_sent) == (1, {"not_allowed": 9})
        rows = {row.id: row.frames for row in relay.figures()[0].by_id}
        assert rows.pop("0x005") == {"sent": 1}
        assert list(rows.values()) == [{"not_allowed": 1}] * 9


async def test_a_dry_run_counts_what_would_have_been_sent_by_id(tmp_path: Path) -> None:
    section = RelaySection(
        transmit="allowlist", allow=[AllowEntry(5)], max_age_seconds=2.0, lease_seconds=0.5, dry_run=True
    )
    async with whole(tmp_path, section=section) as all_of_it, all_of_it.agent() as relay:
        await all_of_it.server.hand_frames(frames(4, 3), 0)
        await all_of_it.server.until_settled(3)
        assert all_of_it.bus.seen == []
        assert {row.id: row.frames for row in relay.figures()[0].by_id} == {
            "0x004": {"not_allowed": 1}, "0x005": {"dry_run": 1}, "0x006": {"not_allowed": 1},
        }  # fmt: skip


@pytest.mark.parametrize("age", ["old", "unknown"])
async def test_what_is_too_old_never_goes_and_what_follows_does(tmp_path: Path, age: str) -> None:
    async with whole(tmp_path) as all_of_it, all_of_it.agent():
        server = all_of_it.server
        await server.until_relay_says(RelayPing)
        if age == "old":
            await server.hand_frames(frames(0, 3), 0, age_seconds=2.0)
        else:
            await server.hand_frames(frames(0, 3), 0, age_seconds=None)
        await server.hand_frames(frames(3, 3), 3)
        totals = (await server.until_settled(6)).totals
        assert all_of_it.bus.seen == [3, 4, 5]
        assert totals.not_sent == {"too_old": 3}


async def test_a_sleeping_bus_is_left_asleep(tmp_path: Path) -> None:
    async with whole(tmp_path) as all_of_it, all_of_it.agent(awake=False) as relay:
        await all_of_it.server.hand_frames(frames(0, 3), 0)
        await all_of_it.server.until_settled(3)
        relay.hear("van-a", frames(0x7FF, 1))
        await all_of_it.server.hand_frames(frames(3, 3), 3)
        totals = (await all_of_it.server.until_settled(6)).totals
        assert all_of_it.bus.seen == [3, 4, 5]
        assert totals.not_sent == {"asleep": 3}


async def test_without_answers_there_is_silence_within_the_lease(tmp_path: Path) -> None:
    async with whole(tmp_path) as all_of_it, all_of_it.agent():
        server, bus = all_of_it.server, all_of_it.bus
        await server.hand_frames(frames(0, 3), 0)
        await server.until_settled(3)
        server.answers = False
        loop = asyncio.get_running_loop()
        end, position = loop.time() + PERMITTED.lease_seconds, 3
        while loop.time() < end + 0.5:
            if loop.time() > end and bus.seen[-1] < 0x600:
                quiet = len(bus.seen)
                await server.hand_frames(frames(0x600, 1), position)
                position += 1
                await asyncio.sleep(0.1)
                assert len(bus.seen) == quiet
                break
            await server.hand_frames(frames(position, 1), position)
            position += 1
            await asyncio.sleep(0.01)
        server.answers = True
        await soon(lambda: 0x600 in bus.seen or server.cursors[START].position >= position, "it goes on")


async def test_an_end_of_the_activation_is_silence_at_the_next_answer(tmp_path: Path) -> None:
    async with whole(tmp_path) as all_of_it, all_of_it.agent() as relay:
        server, bus = all_of_it.server, all_of_it.bus
        await server.hand_frames(frames(0, 3), 0)
        await server.until_settled(3)
        server.activations = []
        pings = len(server.relay_says(RelayPing))
        await server.until_relay_says(RelayPing, pings + 2)
        await server.hand_frames(frames(3, 3), 3)
        await soon(lambda: relay.figures()[0].waits_for == "lease", "it waits for its lease")
        assert bus.seen == [0, 1, 2]


async def test_a_stop_holds_at_once_and_across_restarts_and_is_told(tmp_path: Path) -> None:
    async with whole(tmp_path) as all_of_it:
        server, bus, file = all_of_it.server, all_of_it.bus, stop_file(tmp_path / "state", "van-a")
        async with all_of_it.agent() as relay:
            await server.hand_frames(frames(0, 3), 0)
            await server.until_settled(3)
            changes = all_of_it.changes
            stop(file)
            await server.hand_frames(frames(3, 3), 3)
            assert (await server.until_settled(6)).totals.not_sent == {"disabled": 3}
            assert "relay stop" in relay.side("van-a").stopped
            assert all_of_it.changes > changes
        async with all_of_it.agent():
            await server.hand_frames(frames(6, 3), 6)
            assert (await server.until_settled(9)).totals.not_sent == {"disabled": 6}
            assert bus.seen == [0, 1, 2]
            start(file)
            await server.hand_frames(frames(9, 3), 9)
            await server.until_settled(12)
            assert bus.seen == [0, 1, 2, 9, 10, 11]


async def test_what_was_in_the_driver_when_it_ended_does_not_go_again(tmp_path: Path) -> None:
    async with whole(tmp_path) as all_of_it:
        server, bus = all_of_it.server, all_of_it.bus
        async with all_of_it.agent():
            await server.hand_frames(frames(0, 2), 0)
            await server.until_settled(2)
            bus.echoes = False
            await server.hand_frames(frames(2, 3), 2)
            await soon(lambda: 2 in bus.seen, "a frame is in the driver")
        written = list(bus.seen)
        bus.echoes = True
        async with all_of_it.agent():
            await server.hand_frames(frames(2, 3), 2, fresh=False)
            totals = (await server.until_settled(5)).totals
            assert bus.seen == [*written, *range(written[-1] + 1, 5)]
            assert totals.in_doubt == len(written) - 2
            assert totals.sent == 5 - totals.in_doubt


async def test_an_echo_that_does_not_come_is_in_doubt_and_nothing_follows_until_the_queue_is_empty(
    tmp_path: Path,
) -> None:
    async with whole(tmp_path) as all_of_it, all_of_it.agent() as relay:
        server, bus = all_of_it.server, all_of_it.bus
        bus.echoes = False
        await server.hand_frames(frames(0, 3), 0)
        await soon(lambda: relay.figures()[0].waits_for == "queue", "it waits for the queue")
        assert bus.seen == [0]
        bus.echoes = True
        totals = (await server.until_settled(3)).totals
        assert totals.in_doubt == 1
        assert bus.seen[0] == 0
        assert bus.seen[1:] == [1, 2][: totals.sent]


async def test_a_dry_run_sends_nothing_and_counts_all(tmp_path: Path) -> None:
    section = RelaySection(transmit="all", max_age_seconds=2.0, dry_run=True)
    async with whole(tmp_path, section=section) as all_of_it, all_of_it.agent():
        await all_of_it.server.hand_frames(frames(0, 40), 0)
        assert (await all_of_it.server.until_settled(40)).totals.not_sent == {"dry_run": 40}
        assert all_of_it.bus.seen == []
