"""The server over real sockets: signal tables in, decoded frames, last values and signals events out."""

from __future__ import annotations

import gzip
import json
import math
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of
from can_stream.signals.evaluate import decode
from can_stream.signals.table import SignalTable
from can_stream.text.timestamps import format_timestamp
from stream_server.storage import data_directory, splitting
from tests.helpers.agents import registered_agents
from tests.helpers.api_server import API, Api, Server, api_server, eventually, listen, next_event
from tests.helpers.cantools_oracle import frames_of
from tests.helpers.processes import StreamServer
from tests.helpers.shared_data import SHARED_DATA
from tests.helpers.signal_agent import SignalAgent, signal_agent, values_of
from tests.helpers.signal_tables import (
    demo_samples,
    demo_table,
    gear_table,
    odd_values_table,
    table_from,
)

SIGNALS = f"{API}/dongles/van7-can0/signals"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with api_server(tmp_path) as running:
        yield running


def drive(gear: int, at_ms: int, speed: int = 0) -> FrameBatch:
    """One frame of `gear_table`'s Drive."""
    data = bytes([gear]) + speed.to_bytes(2, "little") + bytes(5)
    return batch_of([(at_ms * 1_000_000, 0x100, 0, 8, data)])


async def shown_gear(viewer: Api) -> tuple[Any, Any] | None:
    """Value and time of Gear among the last values."""
    found = {one["signal"]: one for one in (await viewer.get(SIGNALS))["signals"]}
    return (found["Gear"]["value"], found["Gear"]["ts"]) if "Gear" in found else None


def at(ms: int) -> str:
    return format_timestamp(ms * 1000)


async def test_frames_carry_exactly_what_they_hold(server: Server) -> None:
    agent, viewer = await signal_agent(server), await server.user("viewer")
    table, (frames, samples) = demo_table(), demo_samples()
    assert await agent.hello([table]) == [table.hash.hex()]
    await agent.give(table)
    await agent.open_data()
    events = await listen(viewer, agent.dongle_id)
    await agent.send(frames=frames)
    for sample in samples:
        shown = await next_event(events, "can_frame")
        assert shown["data_hex"].replace(" ", "") == sample.data_hex
        assert (shown["message"], shown["signals"]) == (sample.message, sample.values)
    assert await agent.report([table]) == []


@pytest.mark.recorded
@pytest.mark.parametrize("limit", [None, 200])
async def test_a_recorded_drive_is_shown_with_the_expected_values_sampled_or_not(
    server: Server, limit: int | None
) -> None:
    with gzip.open(SHARED_DATA / "expected" / "kona_compcan.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line, _ in zip(file, range(8_000), strict=False)]
    table = table_from(SHARED_DATA / "dbc" / "kona-ev-dbc" / "comp_can.dbc")
    frames = frames_of([(row["id"], row["ext"], bytes.fromhex(row["data"])) for row in rows])
    expected = {(row["id"], row["data"].upper()): row["sig"] for row in rows}
    agent, viewer = await signal_agent(server), await server.user("viewer")
    await agent.hello([table])
    await agent.give(table)
    server.services.fleet.stream(agent.dongle_id).max_frames_per_second = limit
    await agent.open_data()
    events = await listen(viewer, agent.dongle_id)
    counted = shown = 0
    for start in range(0, len(rows), 400):
        await agent.send(frames=frames[start : start + 400])
        while limit is None and counted < start + 400:
            counted += check_shown(await next_event(events, "can_frame"), table, expected)
            shown += 1
    while counted < len(rows):
        counted += check_shown(await next_event(events, "can_frame"), table, expected)
        shown += 1
    assert (counted, shown < len(rows)) == (len(rows), limit is not None)


def check_shown(event: dict[str, Any], table: SignalTable, expected: dict[Any, dict[str, Any]]) -> int:
    """The event says of its own data what the decoder says, and that is what was expected; its count."""
    data = bytes.fromhex(event["data_hex"])
    decoded = decode(table, frames_of([(int(event["id"], 16), event["is_extended"], data)]))
    assert event["message"] == decoded.message_name(0)
    assert event["signals"] == decoded.values_of(0)
    known = expected[int(event["id"], 16), data.hex().upper()]
    assert known.items() <= decoded.values_of(0, choices=False).items()
    return int(event["count"])


async def test_what_a_frame_has_not_is_named_and_what_no_database_knows_stays_raw(server: Server) -> None:
    agent, viewer = await signal_agent(server), await server.user("viewer")
    table = gear_table()
    await agent.hello([table])
    await agent.give(table)
    await agent.open_data()
    events = await listen(viewer, agent.dongle_id)
    rows = [
        (0, 0x100, 0, 2, b"\x01\x02"),
        (0, 0x7FF, 0, 1, b"\x01"),
        (0, 0x100, FrameFlag.REMOTE, 8, b""),
        (0, 0x100, FrameFlag.EXTENDED, 1, b"\x01"),
    ]
    await agent.send(frames=batch_of(rows))
    short, unknown, remote, extended = [await next_event(events, "can_frame") for _ in rows]
    assert (short["signals"], short["undecoded"]) == ({"Gear": "Reverse"}, ["Speed"])
    assert (remote["message"], remote["signals"]) == ("Drive", {})
    for raw in (unknown, extended):
        assert {"message", "signals", "undecoded"} & raw.keys() == set()


async def test_frames_are_shown_raw_until_the_table_is_there(server: Server) -> None:
    agent, viewer = await signal_agent(server), await server.user("viewer")
    table = gear_table()
    await agent.hello([])
    await agent.open_data()
    events = await listen(viewer, agent.dongle_id)
    await agent.send(frames=drive(1, 1))
    assert "signals" not in await next_event(events, "can_frame")
    assert await agent.report([table]) == [table.hash.hex()]
    await agent.send(frames=drive(1, 2))
    assert "signals" not in await next_event(events, "can_frame")
    await agent.give(table)
    await agent.send(frames=drive(1, 3))
    assert (await next_event(events, "can_frame"))["signals"] == {"Gear": "Reverse", "Speed": 0.0}
    assert await agent.report([]) == []
    await agent.send(frames=drive(1, 4))
    assert "signals" not in await next_event(events, "can_frame")


async def test_last_values_are_those_of_the_samples_with_unit_choices_and_time(server: Server) -> None:
    agent, viewer = await signal_agent(server), await server.user("viewer")
    table, (frames, samples) = demo_table(), demo_samples()
    await agent.hello([table])
    await agent.open_data()
    await agent.send(values=values_of(table, frames))
    assert await viewer.get(SIGNALS) == {"dongle_id": "van7-can0", "hash": None, "signals": []}
    await agent.give(table)
    answer = await viewer.get(SIGNALS)
    assert answer["hash"] == table.hash.hex()
    shown = {(one["message"], one["signal"]): one for one in answer["signals"]}
    assert {key: (one["value"], one["number"]) for key, one in shown.items()} == {
        (sample.message, name): (sample.values[name], sample.numbers[name])
        for sample in samples
        for name in sample.values
    }
    models = {(message.name, model.name): model for message in table.messages for model in message.signals}
    assert [key for key in models if key in shown] == list(shown), "not in the order of the table"
    for key, one in shown.items():
        choices = {str(raw): name for raw, name in models[key].choices.items()}
        assert (one["unit"], one["choices"]) == (models[key].unit, choices or None)
    (gear,) = [one for one in answer["signals"] if one["signal"] == "CurrentGear"]
    assert gear["ts"] == format_timestamp(int(frames.timestamp_ns[4]) // 1000)


ODD = [
    (0x100, struct.pack("<d", math.nan), "Float", "NaN"),
    (0x100, struct.pack("<d", math.inf), "Float", "Infinity"),
    (0x100, struct.pack("<d", -math.inf), "Float", "-Infinity"),
    (0x100, struct.pack("<d", 5e-324), "Float", 5e-324),
    (0x101, b"\xff" * 8, "Unsigned", 2**64 - 1),
    (0x102, bytes(7) + b"\x80", "Signed", -(2**63)),
    (0x103, b"\x03" + bytes(7), "State", 'Naïve "x"'),
    (0x103, b"\x04" + bytes(7), "State", -2),
]


async def test_odd_values_arrive_with_every_bit(server: Server) -> None:
    agent, viewer, table = await signal_agent(server), await server.user("viewer"), odd_values_table()
    await agent.hello([table])
    await agent.give(table)
    await agent.open_data()
    events = await listen(viewer, agent.dongle_id)
    for number, data, name, value in ODD:
        frames = frames_of([(number, False, data)])
        await agent.send(frames=frames, values=values_of(table, frames))
        exact(await next_event(events, "can_frame"), "signals", {name: value})
        (shown,) = [one for one in (await viewer.get(SIGNALS))["signals"] if one["signal"] == name]
        exact(shown, "value", value)
        exact(shown, "number", -4 if value == 'Naïve "x"' else value)
    await agent.report([table], "off")
    for number, data, name, value in ODD:
        await agent.send(values=values_of(table, frames_of([(number, False, data)])))
        exact(await next_event(events, "signals"), "values", {name: value})


def exact(shown: dict[str, Any], member: str, expected: Any) -> None:
    """Equal, and of the same type."""
    assert json.dumps(shown[member]) == json.dumps(expected)


async def test_a_dongle_without_frames_shows_its_messages(server: Server) -> None:
    agent, viewer = await signal_agent(server), await server.user("viewer")
    table = gear_table()
    await agent.hello([table], "off")
    await agent.open_data()
    events = await listen(viewer, agent.dongle_id)
    for number in range(3):
        await agent.send(values=values_of(table, drive(number, number, 250)))
    await agent.give(table)
    held = await next_event(events, "signals")
    assert held["values"] == {"Gear": 2, "Speed": 2.5}, "the newest, once the table is known"
    await agent.send(values=values_of(table, drive(1, 1001, 12345)))
    assert await next_event(events, "signals") == {
        "type": "signals",
        "ts": at(1001),
        "dongle_id": "van7-can0",
        "message": "Drive",
        "values": {"Gear": "Reverse", "Speed": 123.45},
        "hash": table.hash.hex(),
    }
    await agent.report([table], "all")
    await agent.send(frames=drive(1, 5), values=values_of(table, drive(0, 2000)))
    await agent.report([table], "off")
    await agent.send(values=values_of(table, drive(0, 3000)))
    assert (await next_event(events, "signals"))["ts"] == at(3000), "with frames, values are not shown twice"


async def test_last_values_survive_restarts_and_crashes(tmp_path: Path) -> None:
    table = gear_table()
    async with api_server(tmp_path) as server:
        agent = await signal_agent(server)
        token = agent.api
        await agent.hello([table])
        await agent.give(table)
        await agent.open_data()
        await agent.send(values=values_of(table, drive(0, 1000)))
        await server.services.last_values.store()
        await agent.send(values=values_of(table, drive(1, 2000)))
        copy = tmp_path / "as-if-killed"
        directory = data_directory.existing(tmp_path)
        copy.mkdir()
        directory.backup(copy / splitting.SINGLE)
        await agent.send(values=values_of(table, drive(0, 3000)))
    for place, shown in ((tmp_path, ("Park", at(3000))), (copy, ("Reverse", at(2000)))):
        async with api_server(place) as server:
            viewer = await server.user("viewer")
            assert await shown_gear(viewer) == shown
            again = SignalAgent(server.api(token.headers["Authorization"][7:]), start_id="0" * 16)
            await again.hello([table])
            assert await shown_gear(viewer) == shown, "saying the same table again forgets nothing"
            await again.report([gear_table("other")])
            assert await shown_gear(viewer) is None


async def test_a_killed_server_has_every_value_that_it_acknowledged(tmp_path: Path) -> None:
    table = gear_table()
    with StreamServer(tmp_path / "server") as server:
        (registered,) = registered_agents(server, ["van7"], tmp_path)
        viewer = server.create_token()
        async with aiohttp.ClientSession() as session:
            agent = SignalAgent(Api(server, session, registered.token_file.read_text()))
            await agent.hello([table])
            await agent.give(table)
            await agent.open_data()
            for number in range(40):
                await agent.send(values=values_of(table, drive(number % 2, 1000 + number, number)))
        server.process.kill()
        server.start()
        shown = server.read_json(SIGNALS, viewer)["signals"]
        assert [(one["signal"], one["value"], one["ts"]) for one in shown] == [
            ("Gear", "Reverse", at(1039)),
            ("Speed", 39 * 0.01, at(1039)),
        ]


async def test_backlog_never_takes_a_last_value_back(server: Server) -> None:
    agent, viewer, table = await signal_agent(server), await server.user("viewer"), gear_table()
    await agent.hello([table])
    await agent.give(table)
    await agent.open_data()
    await agent.send(values=values_of(table, drive(1, 5000)))
    events = await listen(viewer, agent.dongle_id)
    agent.hold(values=values_of(table, drive(0, 4000)))
    agent.hold(values=values_of(table, drive(0, 5000)))
    agent.hold(values=values_of(gear_table("other"), drive(0, 9000)))
    await agent.open_data()
    told = await next_event(events, "gap")
    assert (told["lane"], told["where"], told["frames"]) == ("signals", "backlog", 6)
    assert "6 values" in (await next_event(events, "log"))["message"]
    assert await shown_gear(viewer) == ("Reverse", at(5000))
    agent.hold(values=values_of(table, drive(0, 6000)))
    await agent.open_data()
    assert await shown_gear(viewer) == ("Park", at(6000))
    await agent.send(values=values_of(table, drive(1, 1)))
    assert await shown_gear(viewer) == ("Reverse", at(1)), "live counts, whatever its clock says"


async def test_values_of_another_table_begin_anew(server: Server) -> None:
    agent, viewer = await signal_agent(server), await server.user("viewer")
    table, other = gear_table(), gear_table("other")
    await agent.hello([table, other])
    for one in (table, other):
        await agent.give(one)
    await agent.open_data()
    await agent.send(values=values_of(table, drive(1, 1000, 700)))
    await agent.send(values=values_of(other, drive(0, 2000))[:1])
    answer = await viewer.get(SIGNALS)
    assert answer["hash"] == other.hash.hex()
    assert [(one["signal"], one["unit"]) for one in answer["signals"]] == [("Gear", "other")]
    await agent.report([other])
    assert await shown_gear(viewer) == ("Park", at(2000)), "its report came after its values"
    await agent.report([table])
    assert await viewer.get(SIGNALS) == {"dongle_id": "van7-can0", "hash": table.hash.hex(), "signals": []}


async def test_signal_numbers_that_no_table_has_do_no_harm(server: Server) -> None:
    agent, viewer, table = await signal_agent(server), await server.user("viewer"), gear_table()
    await agent.hello([table], "off")
    await agent.give(table)
    await agent.open_data()
    events = await listen(viewer, agent.dongle_id)
    values = values_of(table, drive(1, 1000, 100))
    for number in (3, 1 << 18, 2**32 - 1):
        values.signal[0] = number
        await agent.send(values=values)
        assert (await next_event(events, "signals"))["values"] == {"Speed": 1.0}
    assert [one["signal"] for one in (await viewer.get(SIGNALS))["signals"]] == ["Speed"]


async def test_the_recording_as_json_lines_is_decoded(server: Server) -> None:
    agent, viewer, table = await signal_agent(server), await server.user("viewer"), gear_table()
    await agent.hello([table])
    await agent.open_data()
    frames = frames_of([(0x100, False, b"\x01\x02\x03"), (0x7FF, False, b"\x01")])
    await agent.send(frames=frames)
    path = f"{API}/dongles/van7-can0/frames?format=jsonl"
    raw = [json.loads(line) for line in (await viewer.get(path)).splitlines()]
    await agent.give(table)
    start, known, unknown = [json.loads(line) for line in (await viewer.get(path)).splitlines()]
    assert (known["message"], known["signals"]) == ("Drive", {"Gear": "Reverse", "Speed": 7.7})
    del known["message"], known["signals"]
    assert [start, known, unknown] == raw


async def test_gaps_name_their_lane_and_a_start_is_told_once(server: Server) -> None:
    agent, viewer = await signal_agent(server), await server.user("viewer")
    await agent.hello([])
    events = await listen(viewer, agent.dongle_id)
    await agent.open_data()
    start = await next_event(events, "gap")
    assert (start["lane"], start["where"]) == ("frames", "agent_start")
    await agent.send(values=values_of(gear_table(), drive(1, 1)))

    async def counted() -> bool:
        text = server.services.metrics.exposition().decode()
        return "stream_server_values_recorded_total 2.0" in text and "frames_recorded_total 0.0" in text

    await eventually(counted)
    quiet = await signal_agent(server, "van8")
    await quiet.hello([], "off")
    others = await listen(viewer, quiet.dongle_id)
    await quiet.open_data()
    assert [(await next_event(others, "gap"))["lane"] for _ in range(2)] == ["frames", "signals"]
    log = events.content.read_nowait()
    assert b"event: gap" not in log
