"""What the news of one part lead to elsewhere: what the server and the log are told, and what is done."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from can_stream.databases.configured import ConfiguredDatabases
from can_stream.protocol.control import (
    DevicesReport,
    Discovery,
    SignalTablePart,
    Status,
    TablesWanted,
)
from edge_agent.budget.budget import Budget, Stage
from edge_agent.bus import reader
from edge_agent.config.sections import SpoolSection
from edge_agent.host.backoff import Backoff, BackoffPolicy
from edge_agent.state import State, StatusCode
from edge_agent.status.watchdog import CONNECTING_SECONDS
from edge_agent.uplink.state import UplinkPhase, UplinkState
from edge_agent.uplink.traffic import MAX_WAITING_CONTROL_MESSAGES
from tests.helpers.agent_parts import AgentParts, StandingClock, databases, log_section, slcan_section
from tests.helpers.conditions import Gathered, running
from tests.helpers.lawicel import LawicelAdapter
from tests.helpers.uplink_server import listening, streaming

NOTHING = ConfiguredDatabases(None, (), ("no file matches none.dbc",))


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edge_agent.agent")


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What the agent has logged since it was asked last."""
    lines = [(one.levelname, one.getMessage()) for one in caplog.records if one.name == "edge_agent.agent"]
    caplog.clear()
    return lines


def unheard(parts: AgentParts) -> int:
    """How many control messages wait for a connection: as many as there is no room for any more."""
    before = parts.uplink.counts.messages_dropped
    room = 0
    while parts.uplink.say(DevicesReport([])):
        room += 1
    parts.uplink.counts.messages_dropped = before
    return MAX_WAITING_CONTROL_MESSAGES - room


# -- databases


async def test_first_databases_give_a_lane_and_a_greeting_that_names_it() -> None:
    async with listening() as server:
        parts = AgentParts([log_section("van7-a"), log_section("van7-b")], server.url)
        async with streaming(parts.uplink):
            first, table = databases(), databases().table
            assert table is not None
            parts.announcer.databases_loaded(parts.dongles[1], first)
            await server.lanes.until(2)
            before, after = server.hellos
            assert [one.signal_tables for one in before.dongles] == [[], []]
            assert [one.signal_tables for one in after.dongles] == [[], [table.hash.hex()]]
            assert before.start_id == after.start_id
            names = [[(one.dongle_id, one.lane) for one in opened.lanes] for opened in server.lanes]
            assert names[0] == [("van7-a", "frames"), ("van7-b", "frames")]
            assert names[1] == [*names[0], ("van7-b", "signals")]


async def test_later_databases_are_reported_without_a_greeting() -> None:
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        (dongle,) = parts.dongles
        parts.announcer.databases_loaded(dongle, databases("Drive"))
        async with streaming(parts.uplink):
            parts.announcer.databases_loaded(dongle, databases("Drive"))  # the same: no news
            parts.announcer.databases_loaded(dongle, databases("Totals"))
            (report,) = await server.until_said(DevicesReport)
            (told,) = report.dongles
            assert told.signal_tables == list(dongle.tables)
            assert [dongle.tables[one] for one in told.signal_tables] == [
                table.to_bytes()
                for table in (databases("Totals").table, databases("Drive").table)
                if table is not None
            ]
            dongle.bus.take_source(State(StatusCode.FAILED, "it is gone", "unplugged"))
            parts.announcer.unknown_id("van7-log", 1, False)  # behind a report, were there one
            await server.until_said(Discovery)
            assert len(server.of(DevicesReport)) == 1, "told once"
            assert len(server.hellos) == len(server.lanes) == 1
            assert len(parts.lanes) == 2


async def test_the_server_gets_the_tables_that_it_wants_also_former_ones() -> None:
    async with listening() as server:
        parts = AgentParts([log_section("van7-a"), log_section("van7-b")], server.url)
        for dongle, name in zip(parts.dongles, ("Drive", "Totals"), strict=True):
            parts.announcer.databases_loaded(dongle, databases(name))
        parts.announcer.databases_loaded(parts.dongles[1], databases("Brakes"))
        wanted = [*parts.dongles[1].tables, *parts.dongles[0].tables, "00" * 16]
        async with streaming(parts.uplink):
            await server.tell(TablesWanted(wanted))
            await server.said.until(3)
        sent = {one.hash: one.part for one in server.said if isinstance(one, SignalTablePart)}
        assert sent == {**parts.dongles[0].tables, **parts.dongles[1].tables}
        assert len(sent) == 3


@pytest.mark.parametrize(
    ("loaded", "lines"),
    [
        (databases(), [("INFO", "van7-log: 1 messages, 1 signals from 1 database files")]),
        (
            databases("Drive", "bad.dbc: no BO_"),
            [("WARNING", "van7-log: 1 messages, 1 signals from 1 database files; bad.dbc: no BO_")],
        ),
        (NOTHING, [("WARNING", "van7-log: nothing is decoded; no file matches none.dbc")]),
        (None, []),
    ],
)
async def test_what_was_loaded_is_said(
    loaded: ConfiguredDatabases | None, lines: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    parts = AgentParts([log_section()])
    parts.announcer.databases_loaded(parts.dongles[0], loaded)
    found = [line for line in logged(caplog) if not line[1].startswith("uplink: ")]
    assert found == lines
    assert parts.dongles[0].databases is loaded
    assert len(parts.lanes) == (1 if loaded is None else 2), "a lane says that its values are wanted"


async def test_before_the_first_greeting_there_is_nobody_to_report_to() -> None:
    parts = AgentParts([log_section()])
    parts.announcer.databases_loaded(parts.dongles[0], databases())
    assert unheard(parts) == 0


# -- buses


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (State(StatusCode.OK, "reading drive.log"), "INFO"),
        (State(StatusCode.STOPPED, "drive.log is over"), "INFO"),
        (State(StatusCode.STARTING, "opening it again"), "INFO"),
        (State(StatusCode.DEGRADED, "it lost frames", "overrun"), "WARNING"),
        (State(StatusCode.FAILED, "it is gone: plug it in", "unplugged"), "WARNING"),
    ],
)
async def test_a_bus_that_stands_differently_is_said_with_its_fault(
    state: State, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    parts = AgentParts([log_section()])
    parts.dongles[0].bus.take_source(state)
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == (
        "edge_agent.agent",
        level,
        f"van7-log: {state.message}",
    )
    assert (record.__dict__["dongle_id"], record.__dict__["kind"]) == ("van7-log", state.fault)


async def test_a_bus_that_fails_is_told_to_the_server_at_once_and_alone() -> None:
    async with listening() as server:
        parts = AgentParts([log_section("van7-a"), log_section("van7-b")], server.url)
        async with running(parts.reporter.run()), streaming(parts.uplink):
            await server.until_said(Status)
            parts.dongles[1].bus.take_source(State(StatusCode.FAILED, "it is gone", "unplugged"))
            _, told = await server.until_said(Status, 2)
            (bus,) = told.services
            assert (bus.agent_service_id, bus.status, bus.message) == ("bus.van7-b", "FAILED", "it is gone")
            assert bus.metrics["fault"] == "unplugged"
            assert server.of(DevicesReport) == [], "the dongles are the same"


async def test_who_waits_for_an_adapter_looks_at_once_when_something_is_plugged_in(
    mocker: MockerFixture, tmp_path: Path
) -> None:
    hours = BackoffPolicy(base_seconds=7200.0, cap_seconds=7200.0)
    mocker.patch.object(reader, "Backoff", return_value=Backoff(hours, uniform=lambda: 1.0))
    port = tmp_path / "port"
    parts = AgentParts([slcan_section(str(port), "van7-a"), slcan_section(f"{port}2", "van7-b")])
    states: list[Gathered[State]] = []
    for dongle in parts.dongles:
        states.append(Gathered[State]())
        mocker.patch.object(dongle.bus, "_on_state", states[-1].append)
        dongle.reader.start()
    for told in states:
        await told.until(1)
        assert told[0].code is StatusCode.FAILED
    with LawicelAdapter() as adapter:
        port.symlink_to(adapter.device)
        parts.announcer.adapters_changed()
        await states[0].until(2)
        assert states[0][1].code is StatusCode.OK
        for dongle in parts.dongles:
            await dongle.reader.stop()
    assert {one.code for one in states[1]} == {StatusCode.FAILED, StatusCode.STOPPED}


# -- arbitration ids


async def test_a_new_id_waits_where_it_is_kept_while_nobody_hears_it() -> None:
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        assert not parts.announcer.new_id("van7-log", (0x18DAF110, True))
        assert unheard(parts) == 0
        parts = AgentParts([log_section()], server.url, StandingClock())
        async with streaming(parts.uplink):
            assert parts.announcer.new_id("van7-log", (0x18DAF110, True))
            (told,) = await server.until_said(Discovery)
    assert (told.kind, told.slug, told.dongle_id) == ("NewId", "18daf110-van7-log", "van7-log")
    assert told.details == {"id": "0x18DAF110", "is_extended": True}
    assert told.wall_ns == StandingClock().wall_ns()


async def test_a_new_id_for_which_there_is_no_room_waits_too() -> None:
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        async with streaming(parts.uplink):
            taken = [
                parts.announcer.new_id("van7-log", (0, False))
                for _ in range(MAX_WAITING_CONTROL_MESSAGES + 3)
            ]
            assert taken.count(False) == parts.uplink.counts.messages_dropped == 3
            assert not any(taken[-3:])


async def test_an_unknown_id_is_told_to_a_server_that_comes_later() -> None:
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        parts.announcer.unknown_id("van7-log", 0x7E8, False)
        async with streaming(parts.uplink):
            (told,) = await server.until_said(Discovery)
    assert (told.kind, told.slug) == ("UnknownId", "7e8-van7-log")
    assert told.details == {"id": "0x7E8", "is_extended": False}


# -- uplink


async def test_how_the_uplink_stands_is_logged_and_holds_the_watchdog_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = StandingClock()
    parts = AgentParts([log_section()], clock=clock)
    parts.announcer.uplink_changed(UplinkState(UplinkPhase.WAITING, "the server is away"))
    assert logged(caplog) == [("WARNING", "uplink: the server is away")]
    clock.seconds += CONNECTING_SECONDS + 59
    assert parts.watchdog.standstill() is None
    clock.seconds += 2
    assert "has not tried again" in (parts.watchdog.standstill() or "")
    parts.announcer.uplink_changed(UplinkState(UplinkPhase.WAITING, "the server is away"))
    assert parts.watchdog.standstill() is None, "it was tried"
    clock.seconds += 10**6
    parts.announcer.uplink_changed(UplinkState(UplinkPhase.STREAMING, "streaming to it"))
    assert logged(caplog)[1:] == [("INFO", "uplink: streaming to it")]
    clock.seconds += 10**6
    assert parts.watchdog.standstill() is None


async def test_whoever_welcomes_the_agent_is_told_of_every_service_again() -> None:
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        async with running(parts.reporter.run()), streaming(parts.uplink):
            await server.until_said(Status)
            parts.uplink.reconnect()
            first, second = await server.until_said(Status, 2)
    names = [[one.agent_service_id for one in told.services] for told in (first, second)]
    assert names == [["agent", "uplink", "bus.van7-log"]] * 2


async def test_with_a_heartbeat_goes_how_everything_stands() -> None:
    async with listening() as server:
        parts = AgentParts([log_section()], server.url)
        async with streaming(parts.uplink):
            parts.announcer.heartbeat()
            parts.announcer.heartbeat()
            told = await server.until_said(Status, 2)
    assert [len(one.services) for one in told] == [3, 3], "changed or not"


async def test_hello_says_what_the_clock_says() -> None:
    clock = StandingClock()
    hello = AgentParts([log_section(frames="off")], clock=clock).announcer.hello()
    assert (hello.agent_id, hello.wall_ns, hello.monotonic_ns) == (
        "van7",
        clock.wall_ns(),
        clock.monotonic_ns(),
    )
    assert hello.clock_synchronised
    assert [(one.dongle_id, one.channel, one.frames) for one in hello.dongles] == [
        ("van7-log", "drive.log", "off")
    ]


# -- spool and budget


@pytest.mark.parametrize(
    ("code", "level"),
    [(StatusCode.OK, "INFO"), (StatusCode.DEGRADED, "WARNING"), (StatusCode.FAILED, "WARNING")],
)
async def test_how_the_spool_stands_is_logged(
    code: StatusCode, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    AgentParts([log_section()]).announcer.spool_changed(State(code, "the disk is what it is"))
    assert logged(caplog) == [(level, "spool: the disk is what it is")]


async def test_a_spool_that_fails_is_told_to_the_server_at_once(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    async with listening() as server:
        parts = AgentParts([log_section()], server.url, spool=SpoolSection(str(tmp_path / "spool")))
        assert parts.spool is not None
        async with running(parts.reporter.run()), streaming(parts.uplink):
            await server.until_said(Status)
            async with running(parts.spool.run()):
                _, told = await server.until_said(Status, 2)
    assert [(one.service_type, one.status) for one in told.services] == [("spool", "FAILED")]


async def test_each_stage_of_the_budget_is_logged_once_and_holds_for_every_dongle(
    caplog: pytest.LogCaptureFixture,
) -> None:
    parts, budget = AgentParts([log_section("van7-a"), log_section("van7-b")]), Budget(1000)
    for dongle in parts.dongles:
        dongle.pipeline.add_decoder()
    look = partial(_spend, parts, budget)
    look(700)
    assert logged(caplog) == [], "it begins with everything"
    look(100)
    look(10)
    assert [level for level, _ in logged(caplog)] == ["WARNING"]
    assert [lane.paused for lane in parts.dongles[1].pipeline.lanes] == [True, False]
    look(200)
    ((level, message),) = logged(caplog)
    assert (level, message) == ("WARNING", f"uplink: {budget.message}")
    assert "neither frames nor signals are sent" in message
    assert all(lane.paused for dongle in parts.dongles for lane in dongle.pipeline.lanes)
    look(0, day=1)
    assert [level for level, _ in logged(caplog)] == ["INFO"]
    assert not any(lane.paused for dongle in parts.dongles for lane in dongle.pipeline.lanes)


async def test_a_dongle_that_gets_databases_on_a_spent_budget_is_limited_at_the_next_look() -> None:
    parts, budget = AgentParts([log_section()]), Budget(1000)
    _spend(parts, budget, 1000)
    parts.announcer.databases_loaded(parts.dongles[0], databases())
    _spend(parts, budget, 0)
    assert [lane.paused for lane in parts.lanes] == [True, True]


def _spend(parts: AgentParts, budget: Budget, size_bytes: int, day: int = 0) -> None:
    """So much is sent, and looked at."""
    budget.add_sent(size_bytes, day * 86_400 * 10**9)
    parts.announcer.budget_looked_at(Stage(budget.stage), budget)


async def test_a_budget_that_is_nearly_spent_is_told_to_the_server_at_once() -> None:
    async with listening() as server:
        budget = Budget(1000)
        parts = AgentParts([log_section()], server.url, budget=budget)
        async with running(parts.reporter.run()), streaming(parts.uplink):
            await server.until_said(Status)
            _spend(parts, budget, 800)
            _, told = await server.until_said(Status, 2)
    (agent,) = told.services
    assert (agent.service_type, agent.status, agent.metrics["budget_stage"]) == ("agent", "DEGRADED", 1)
