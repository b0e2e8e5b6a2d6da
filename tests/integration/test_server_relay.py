"""The server between two agents of a group: what it marks, hands, hands again, and counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from can_stream.protocol.relay_control import Credit, SinkState, Totals
from stream_server.config import RecordingSection
from stream_server.metrics import Metrics
from stream_server.recording.retention import Retention, reading
from tests.helpers.api_server import API, Api, Server, api_server, closing, eventually
from tests.helpers.relay_agents import ALLOWS, SinkOfTest, Source, greets, listed, told

GROUP = f"{API}/groups/bridge"
START = "00000000000000a1"


class Bridge:
    """van7's can0 and van8's can8 as one group, with everybody connected."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def connect(self, seven: str | None = None, eight: str | None = None) -> Bridge:
        """Both agents say hello; without tokens they are registered first and the group is made."""
        is_new = seven is None
        self.operator = await self.server.user("operator")
        self.seven = await self.server.agent("van7") if seven is None else self.server.api(seven)
        self.eight = await self.server.agent("van8") if eight is None else self.server.api(eight)
        self.control = await greets(self.seven, "van7", [listed("can0")])
        self.other = await greets(self.eight, "van8", [listed("can8")])
        if is_new:
            body = {"group_id": "bridge", "dongle_a_id": "can0", "dongle_b_id": "can8"}
            assert (await self.operator.ask("POST", f"{API}/groups", body))[0] == 201
        return self

    async def post(self, deed: str, **body: Any) -> dict[str, Any]:
        status, view, _ = await self.operator.ask("POST", f"{GROUP}/{deed}", body)
        assert status == 200, view
        found: dict[str, Any] = view
        return found

    async def state(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.operator.get(GROUP)
        return found

    async def marked(self) -> str:
        """Until A's agent is told of an activation."""
        while (activation := (await told(self.control)).activation) is None:
            pass
        return activation


def token(api: Api) -> str:
    return api.headers["Authorization"].removeprefix("Bearer ")


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[Bridge]:
    async with api_server(tmp_path) as server:
        yield await Bridge(server).connect()


async def relaying(bridge: Bridge) -> tuple[Source, SinkOfTest, str]:
    """An active group, a source whose lane is marked, and a sink that takes everything."""
    source, sink = Source(bridge.seven, "can0", START), SinkOfTest(bridge.eight, "can8")
    await source.connect()
    await source.frame()  # before: not for the activation
    await sink.connect()
    await bridge.post("activate")
    activation = await bridge.marked()
    assert (await sink.directed()).directions[0].activation == activation
    await source.pinged()
    await source.mark(activation)
    return source, sink, activation


async def test_an_agent_is_told_at_once_that_nothing_of_a_dongle_is_relayed(bridge: Bridge) -> None:
    said = await told(bridge.control)
    assert (said.dongle_id, said.activation) == ("can0", None)


async def test_marked_frames_come_out_in_order_and_are_settled(bridge: Bridge) -> None:
    source, sink, activation = await relaying(bridge)
    sent = [await source.frame() for _ in range(20)]
    assert await sink.positions(20) == sent == list(range(1, 21)), "what waited before is not relayed"
    assert await sink.leases(1) == [activation]
    state, ledger = await bridge.state(), bridge.server.services.memory.ledger
    assert (state["made_frames_a_to_b"], state["buffered_frames_a_to_b"]) == (20, 20)
    assert ledger()["relay"] > 20 * 100
    await sink.settle("can0", START, 21, Totals(sent=20))

    async def settled() -> bool:
        state = await bridge.state()
        return bool(state["sent_a_to_b"] == 20 and state["buffered_frames_a_to_b"] == 0)

    await eventually(settled)
    assert ledger()["relay"] < 20 * 100
    state = await bridge.state()
    assert (state["mode"], state["made_frames_a_to_b"]) == ("active", 20)


async def test_the_hops_of_what_is_handed_add_up_to_its_age(bridge: Bridge) -> None:
    source, sink, _ = await relaying(bridge)
    for _ in range(5):
        await source.frame()
    await sink.positions(5)

    def told(name: str, **labels: str) -> float:
        found = bridge.server.services.metrics.registry.get_sample_value(
            f"stream_server_relay_{name}", labels
        )
        return found or 0.0

    hops = ("source", "uplink", "server")
    assert {hop: told("hop_seconds_count", hop=hop) for hop in hops} == dict.fromkeys(hops, 5)
    assert told("age_seconds_count") == 5
    whole = sum(told("hop_seconds_sum", hop=hop) for hop in hops)
    assert abs(whole - told("age_seconds_sum")) < 1e-6


async def test_what_is_not_settled_comes_again_on_the_next_connection(bridge: Bridge) -> None:
    source, sink, _ = await relaying(bridge)
    for _ in range(10):
        await source.frame()
    await sink.positions(10)
    await sink.settle("can0", START, 5, Totals(sent=4))
    await sink.socket.close()
    said = await sink.connect()
    assert [cursor.position for cursor in said.directions[0].cursors] == [5]
    assert await sink.positions(6) == list(range(5, 11))


async def test_the_end_of_an_activation_leaves_counts_and_no_lease(bridge: Bridge) -> None:
    source, sink, activation = await relaying(bridge)
    for _ in range(5):
        await source.frame()
    await sink.positions(5)
    await bridge.post("deactivate")
    await sink.directed()
    assert await sink.leases(1) == []
    sink2 = SinkOfTest(bridge.eight, "can8")
    await sink2.connect()
    counts = await sink2.counts()
    assert (counts.reason, counts.first, counts.through, counts.frames) == ("deactivated", 1, 6, 5)
    await sink2.settle("can0", START, 6, Totals(not_sent={"deactivated": 5}))
    while (await told(bridge.control)).activation == activation:
        pass


async def test_a_gateway_is_told_how_its_group_stands_and_again_when_that_is_news(bridge: Bridge) -> None:
    _, sink, _ = await relaying(bridge)
    (said,) = (await sink.pong(1)).groups or []
    assert (said.sink_dongle_id, said.group_id) == ("can8", (await bridge.state())["group_id"])
    assert (said.mode, said.closed) == ("active", "")
    assert (await sink.pong(2)).groups is None
    await bridge.post("deactivate")
    numbers = count(3)

    async def news() -> bool:
        groups = (await sink.pong(next(numbers))).groups
        return groups is not None and groups[0].mode == "inactive"

    await eventually(news)


async def test_what_is_too_old_or_of_unknown_age_is_counted(bridge: Bridge) -> None:
    source, sink, _ = await relaying(bridge)
    await source.frame(age_us=31_000_000)
    await source.frame(age_us=None)
    await source.frame()
    counts = await sink.counts()
    assert (counts.reason, counts.first, counts.frames) == ("too_old", 1, counts.through - 1)
    found = counts.frames
    while found < 2:
        found += (await sink.counts()).frames
    assert await sink.positions(1) == [3]


async def test_what_retention_deletes_while_the_sink_is_away_comes_as_counts(bridge: Bridge) -> None:
    source, sink, _ = await relaying(bridge)
    await sink.socket.close()
    for _ in range(10):
        await source.frame()
    await eventually(lambda: recorded(bridge))
    services = bridge.server.services

    async def heard(_action: str, _seconds: float) -> None: ...

    smaller = Retention(services.recording, RecordingSection(max_bytes=1), Metrics(), heard)
    smaller.on_deleted = services.retention.on_deleted
    assert await smaller.apply(reading()) >= 10
    again = SinkOfTest(bridge.eight, "can8")
    await again.connect()
    counts = await again.counts()
    assert (counts.reason, counts.first, counts.through, counts.frames) == ("trimmed", 1, 11, 10)
    await source.frame()
    assert await again.positions(1) == [11]


async def test_a_restart_of_the_server_changes_nothing(tmp_path: Path) -> None:
    async with api_server(tmp_path) as server:
        bridge = await Bridge(server).connect()
        source, sink, activation = await relaying(bridge)
        for _ in range(10):
            await source.frame()
        await sink.positions(10)
        await sink.settle("can0", START, 4, Totals(sent=3))
        tokens = token(bridge.seven), token(bridge.eight)
        await eventually(lambda: recorded(bridge))
    async with api_server(tmp_path) as server:
        bridge = await Bridge(server).connect(*tokens)
        assert await bridge.marked() == activation
        again = SinkOfTest(bridge.eight, "can8")
        again.cursors = sink.cursors
        said = await again.connect()
        assert said.directions[0].activation == activation
        assert not said.directions[0].begins_anew
        assert await again.positions(7) == list(range(4, 11))
        lane = Source(bridge.seven, "can0", START)
        lane.seq, lane.position = source.seq, source.position
        await lane.connect()
        await lane.pinged()
        await lane.frame()
        assert await again.positions(1) == [11]


async def test_what_was_left_at_the_end_is_counted_after_a_restart_too(tmp_path: Path) -> None:
    async with api_server(tmp_path) as server:
        bridge = await Bridge(server).connect()
        source, sink, _ = await relaying(bridge)
        await sink.socket.close()
        for _ in range(10):
            await source.frame()
        tokens = token(bridge.seven), token(bridge.eight)
        await eventually(lambda: recorded(bridge))
        await bridge.post("deactivate")
    async with api_server(tmp_path) as server:
        bridge = await Bridge(server).connect(*tokens)
        again = SinkOfTest(bridge.eight, "can8")
        await again.connect()
        counts = await again.counts()
        assert (counts.reason, counts.first, counts.frames) == ("deactivated", 1, 10)
        assert await again.leases(1) == []
        await again.settle("can0", START, counts.through, Totals(not_sent={"deactivated": 10}))

        async def settled() -> bool:
            return bool((await bridge.state())["not_sent_a_to_b"] == {"deactivated": 10})

        await eventually(settled)


async def test_no_more_is_handed_than_there_is_room_for(bridge: Bridge) -> None:
    source, sink, _ = await relaying(bridge)
    await sink.socket.close()
    fresh = SinkOfTest(bridge.eight, "can8")
    await fresh.connect(credit=3)
    for _ in range(8):
        await source.frame()
    assert await fresh.positions(3) == [1, 2, 3]
    assert await fresh.leases(1), "and nothing before the answer"
    await fresh.say(Credit("can8", 8, fresh.directions.number))
    assert await fresh.positions(5) == [4, 5, 6, 7, 8]


async def test_the_newest_connection_of_a_gateway_is_handed_everything(bridge: Bridge) -> None:
    source, sink, activation = await relaying(bridge)
    first = await source.frame()
    assert await sink.positions(1) == [first]
    newer = SinkOfTest(bridge.eight, "can8")
    await newer.connect()
    assert (await closing(sink.socket))[0] == 4001
    later = [await source.frame() for _ in range(5)]
    assert await newer.positions(6) == [first, *later]
    assert await newer.leases(1) == [activation]


async def test_a_closed_direction_that_opens_again_hands_nothing_of_before(bridge: Bridge) -> None:
    source, sink, activation = await relaying(bridge)
    await sink.socket.close()
    for _ in range(10):
        await source.frame()
    await eventually(lambda: recorded(bridge))
    for transmit in (False, True):
        allows = msgspec.structs.replace(ALLOWS, transmit=transmit)
        await bridge.other.send_json({"type": "devices_report", "dongles": [listed("can8", allows)]})
        await eventually(partial(is_open, bridge, transmit))
    again = SinkOfTest(bridge.eight, "can8")
    await again.connect()
    counts = await again.counts()
    assert (counts.reason, counts.frames) == ("deactivated", 10)
    position = await source.frame()
    assert await again.positions(1) == [position], "its mark is still known"
    assert await again.leases(1) == [activation]


@pytest.mark.parametrize("name", ["bridge", "another"])
async def test_a_group_that_is_made_anew_relays_at_once_and_counts_from_nothing(
    bridge: Bridge, name: str
) -> None:
    source, sink, before = await relaying(bridge)
    first = await source.frame()
    assert await sink.positions(1) == [first]
    await sink.settle("can0", START, first + 1, Totals(sent=1))
    await bridge.post("deactivate")
    assert (await bridge.operator.ask("DELETE", GROUP))[0] == 200
    body = {"group_id": name, "dongle_a_id": "can0", "dongle_b_id": "can8"}
    status, view, _ = await bridge.operator.ask("POST", f"{API}/groups", body)
    assert (status, view["made_frames_a_to_b"], view["activation"]) == (201, 0, None)
    assert (await bridge.operator.ask("POST", f"{API}/groups/{name}/activate", {}))[0] == 200
    while (activation := await bridge.marked()) == before:
        pass
    await source.mark(activation)
    while [one.activation for one in (await sink.directed()).directions] != [activation]:
        pass
    await bridge.server.services.relay.tick()
    last = await source.frame()
    assert await sink.positions(1) == [last]
    await sink.settle("can0", START, last + 1, Totals(sent=1))

    async def is_counted() -> bool:
        state = await bridge.operator.get(f"{API}/groups/{name}")
        return (state["made_frames_a_to_b"], state["sent_a_to_b"]) == (1, 1)

    await eventually(is_counted)


async def test_what_was_read_while_a_direction_was_closed_is_in_no_count(bridge: Bridge) -> None:
    source, sink, activation = await relaying(bridge)
    first = await source.frame()
    assert await sink.positions(1) == [first]
    await sink.settle("can0", START, first + 1, Totals(accepted=1))
    for transmit in (False, True):
        allows = msgspec.structs.replace(ALLOWS, transmit=transmit)
        await bridge.other.send_json({"type": "devices_report", "dongles": [listed("can8", allows)]})
        await eventually(partial(is_open, bridge, transmit))
        await sink.directed()
        await source.mark(activation if transmit else "")
        for _ in range(5):
            last = await source.frame()
        await eventually(partial(recorded, bridge, 12 if transmit else 7))
    assert await sink.positions(5) == list(range(last - 4, last + 1)), "and no counts before them"
    await sink.settle("can0", START, last + 1, Totals(accepted=6))

    async def is_settled() -> bool:
        state = await bridge.state()
        return (state["made_frames_a_to_b"], state["counted_a_to_b"]) == (6, {})

    await eventually(is_settled)


async def is_open(bridge: Bridge, wanted: bool) -> bool:
    return bool((await bridge.state())["directions"]["a_to_b"] == "open") is wanted


async def recorded(bridge: Bridge, frames: int = 11) -> bool:
    return bool((await bridge.operator.get(f"{API}/dongles/can0"))["recording"]["frames"] == frames)


async def test_another_record_begins_anew_and_is_told(bridge: Bridge) -> None:
    source, sink, _ = await relaying(bridge)
    await source.frame()
    await sink.positions(1)
    await sink.socket.close()
    other = SinkOfTest(bridge.eight, "can8", "cd" * 16)
    said = await other.connect()
    assert said.directions[0].begins_anew
    counts = await other.counts()
    assert counts.in_doubt, "the other may have sent it"
    await source.frame()
    assert await other.positions(1) == [2]


async def test_who_has_not_heard_that_it_begins_anew_is_told_again(bridge: Bridge) -> None:
    source, sink, _ = await relaying(bridge)
    await source.frame()
    await sink.positions(1)
    await sink.socket.close()
    other = SinkOfTest(bridge.eight, "can8", "cd" * 16)
    for _ in range(2):
        assert (await other.connect(credit=None)).directions[0].begins_anew
        await other.socket.close()
    assert (await other.connect()).directions[0].begins_anew
    assert (await other.counts()).in_doubt
    await other.socket.close()
    assert not (await other.connect()).directions[0].begins_anew


async def test_a_side_that_closes_stops_the_direction_and_nothing_comes_to_it(bridge: Bridge) -> None:
    source, sink, activation = await relaying(bridge)
    await source.frame()
    await sink.positions(1)
    closed = msgspec.structs.replace(ALLOWS, transmit=False)
    report = {"type": "devices_report", "dongles": [listed("can8", closed)]}
    await bridge.other.send_json(report)
    await sink.directed()
    counts = await sink.counts()
    assert (counts.reason, counts.frames) == ("deactivated", 1)
    assert await sink.leases(1) == []
    await sink.settle("can0", START, counts.through, Totals(not_sent={"deactivated": 1}))
    for _ in range(5):
        await source.frame()
    await eventually(lambda: recorded(bridge, 7))
    state = await bridge.state()
    assert state["directions"]["a_to_b"].startswith("transmit: ")
    assert state["buffered_frames_a_to_b"] == 0
    assert state["activation"] == activation


async def test_a_loop_that_a_sink_finds_stops_the_group_but_no_later_activation(bridge: Bridge) -> None:
    _, sink, activation = await relaying(bridge)
    loop = "loop: 20 own frames came back within a second"
    assert await sink.leases(1) == [activation]
    for other in (None, activation.partition("-")[0] + "-99"):
        await sink.say(SinkState("can8", loop, None, other))
    assert await sink.leases(2) == [activation], "it was on its way while the group was activated again"
    await sink.say(SinkState("can8", loop, None, activation))

    async def stopped() -> bool:
        state = await bridge.state()
        return bool(state["mode"] == "degraded" and state["reason"].startswith("loop: "))

    await eventually(stopped)
    assert await sink.leases(3) == []


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ('{"type":"relay_ping","number":1}', 1008),
        ('{"type":"relay_hello","start_id":"x","sinks":[]}', 1008),
        ('{"type":"relay_hello","start_id":"00000000000000d4","sinks":[{"dongle_id":"can0",'
         f'"record_id":"{"ab" * 16}"' "}]}", 1008),
        (b"\x00", 1003),
    ],
)  # fmt: skip
async def test_what_is_malformed_or_of_another_is_refused_and_the_next_is_served(
    bridge: Bridge, first: str | bytes, code: int
) -> None:
    socket = await bridge.eight.relay("can-edge-agent.v2")
    await (socket.send_str(first) if isinstance(first, str) else socket.send_bytes(first))
    assert (await closing(socket))[0] == code
    metrics = (await bridge.operator.get("/metrics")).decode()
    assert 'protocol_errors_total{endpoint="relay"} 1.0' in metrics or code == 1008
    assert (await SinkOfTest(bridge.eight, "can8").connect()).directions == []
