"""What each service says of itself: code, message and numbers for every state of its part."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Literal

import pytest
from pytest_mock import MockerFixture

from can_stream.databases.configured import ConfiguredDatabases
from can_stream.frames.batches import batch_of
from can_stream.lanes.window import MemoryWindow, WindowLimits
from can_stream.protocol.control import ServiceStatus
from can_stream.protocol.packets import GapReason
from can_stream.version import VERSION
from edge_agent.budget.budget import Budget, Stage
from edge_agent.bus.source import Dropped
from edge_agent.config.dongle import DongleSection
from edge_agent.config.sections import ServerSection, SpoolSection
from edge_agent.state import State, StatusCode
from edge_agent.status.services import (
    ServiceMaker,
    agent_service,
    bus_service,
    decoder_service,
    frames_ledger,
    spool_service,
    uplink_service,
    values_ledger,
)
from edge_agent.uplink.state import UplinkPhase, UplinkState
from edge_agent.uplink.uplink import Uplink
from tests.helpers.agent_parts import (
    AgentParts,
    StandingClock,
    databases,
    log_section,
    put_frames,
    put_values,
    slcan_section,
)
from tests.helpers.conditions import running
from tests.helpers.uplink_server import listening, streaming

NOW_NS = StandingClock().wall_ns()
MAKER = ServiceMaker("van7", NOW_NS)


def stands(service: ServiceStatus) -> tuple[str, int, str]:
    """Its name, its number and its words."""
    assert service.status == StatusCode(service.status_code).name
    return service.status, service.status_code, service.message


def test_a_service_is_named_by_its_agent_its_kind_and_its_dongle() -> None:
    alone = MAKER.make("uplink", "Uplink", StatusCode.OK, "fine", {"a": 1})
    of_dongle = MAKER.make("bus", "Bus can0", StatusCode.FAILED, "gone", {}, of="van7-can0")
    assert (alone.service_id, alone.agent_service_id, alone.service_type) == (
        "van7/uplink",
        "uplink",
        "uplink",
    )
    assert (of_dongle.service_id, of_dongle.agent_service_id) == ("van7/bus.van7-can0", "bus.van7-can0")
    assert of_dongle.service_type == "bus"
    assert alone.last_seen == "2025-12-22T15:31:02.000000Z"
    assert alone.metrics == {"a": 1}


# -- the agent


def test_an_agent_that_can_say_so_runs() -> None:
    service = agent_service(MAKER, 12.345, None)
    assert stands(service) == ("OK", 0, f"version {VERSION}")
    assert service.metrics == {"uptime_seconds": 12.3}


@pytest.mark.parametrize(
    ("spent", "status", "stage"),
    [(0, "OK", 0), (799, "OK", 0), (800, "DEGRADED", 1), (950, "DEGRADED", 2), (1000, "DEGRADED", 3)],
)
def test_an_agent_whose_budget_is_nearly_spent_is_degraded(spent: int, status: str, stage: int) -> None:
    budget = Budget(1000)
    budget.add_sent(spent, NOW_NS)
    service = agent_service(MAKER, 1.0, budget)
    assert service.status == status
    assert service.message == f"version {VERSION}; {budget.message}"
    assert service.metrics == {
        "uptime_seconds": 1.0,
        "bytes_today": spent,
        "max_bytes_per_day": 1000,
        "budget_stage": stage,
    }


# -- a bus


@pytest.mark.parametrize("code", StatusCode)
async def test_a_bus_stands_as_its_monitor_says(code: StatusCode) -> None:
    parts = AgentParts([slcan_section("/dev/ttyACM0")])
    (dongle,) = parts.dongles
    assert stands(bus_service(MAKER, dongle, 0.0)) == ("STARTING", 3, "opening van7-can0")
    dongle.bus.take_source(State(code, "what is the matter", "unplugged"))
    service = bus_service(MAKER, dongle, 12.345)
    assert stands(service) == (code.name, code, "what is the matter")
    assert (service.label, service.agent_service_id) == ("Bus /dev/ttyACM0", "bus.van7-can0")
    assert service.metrics["fault"] == "unplugged"
    assert service.metrics["frames_per_second"] == 12.3


async def test_the_numbers_of_a_bus_say_what_became_of_every_frame() -> None:
    parts = AgentParts([slcan_section("/dev/none", frames="all")])
    (dongle,) = parts.dongles
    dongle.reader._queue.put(batch_of([(number, 1, 0, 0, b"") for number in range(25)]))
    dongle.reader._queue.put_loss(Dropped(7, 1, 2, "kernel"))
    dongle.reader._queue.put_loss(Dropped(3, 1, 2, "driver"))
    dongle.pipeline.take_loss(Dropped(None, 1, 2))
    metrics = bus_service(MAKER, dongle, 0.0).metrics
    assert metrics["frames_read"] == metrics["frames_waiting"] == 25
    assert (metrics["frames_lost_kernel"], metrics["frames_lost_driver"], metrics["frames_lost"]) == (
        7,
        3,
        10,
    )
    assert metrics["frames_losses_uncounted"] == 1
    assert frames_ledger(dongle).unexplained == 0


async def test_what_waits_in_a_lane_is_acknowledged_or_trimmed() -> None:
    (dongle,) = AgentParts([log_section()]).dongles
    lane = dongle.pipeline.frames
    put_frames(dongle, 30)
    assert bus_service(MAKER, dongle, 0.0).metrics["frames_waiting"] == 30
    lane.accepted(lane.next_seq)
    metrics = bus_service(MAKER, dongle, 0.0).metrics
    assert (metrics["frames_waiting"], metrics["frames_acknowledged"]) == (0, 30)
    assert isinstance(lane.window, MemoryWindow)
    lane.window.limits = WindowLimits(max_bytes=2_000)
    while not lane.window.trimmed_frames:
        lane.take_frames(batch_of([(1, 1, 0, 8, os.urandom(8)) for _ in range(50)]), 0.0)
    metrics = bus_service(MAKER, dongle, 0.0).metrics
    assert metrics["frames_trimmed"] == metrics["frames_lost"] == lane.window.trimmed_frames


@pytest.mark.parametrize(("frames", "hop"), [("off", "left_out"), ("all", "over_budget")])
async def test_what_is_not_to_be_sent_and_what_is_no_frame_is_counted(
    frames: Literal["off", "all"], hop: str, tmp_path: Path
) -> None:
    path = tmp_path / "drive.log"
    path.write_text("(1.0) can0 100#01\ngarbage\n(1.1) can0 100#02\n(1.2) can0 100#03\n")
    options = {"speed": "max"}
    section = DongleSection(str(path), id="van7-log", interface="log", frames=frames, options=options)
    (dongle,) = AgentParts([section]).dongles
    dongle.pipeline.limit(Stage.NO_FRAMES)
    dongle.use(None)
    dongle.reader.start()
    await asyncio.wait_for(dongle.feed(), 30)
    await dongle.reader.stop()
    metrics = bus_service(MAKER, dongle, 0.0).metrics
    assert (metrics["frames_read"], metrics[f"frames_{hop}"], metrics["frames_malformed"]) == (3, 3, 1)
    assert frames_ledger(dongle).unexplained == 0


# -- the spool


async def test_a_spool_that_opens_works_and_fails(tmp_path: Path) -> None:
    section, clock = SpoolSection(str(tmp_path / "spool")), StandingClock()
    parts = AgentParts([slcan_section("/dev/none")], clock=clock, spool=section)
    spool = parts.spool
    assert spool is not None
    assert stands(spool_service(MAKER, spool)) == ("STARTING", 3, f"opening {spool.directory}")
    assert spool_service(MAKER, spool).metrics == {
        "frames": 0,
        "bytes": 0,
        "oldest_age_seconds": 0.0,
        "frames_trimmed": 0,
        "bytes_written": 0,
        "failures": 0,
    }
    put_frames(parts.dongles[0], 30)
    async with running(spool.run()) as task:
        await spool.opened.wait()
        spool.stop()
        await task
    clock.seconds += 12.34
    service = spool_service(MAKER, spool)
    assert stands(service) == ("OK", 0, f"keeps what waits in {spool.directory}")
    assert service.metrics["frames"] == 30
    assert service.metrics["bytes"] > 0
    assert service.metrics["bytes_written"] > 0
    assert service.metrics["oldest_age_seconds"] == 12.3


async def test_a_spool_that_fails_says_the_remedy_and_counts(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    parts = AgentParts([slcan_section("/dev/none")], spool=SpoolSection(str(tmp_path / "spool")))
    spool = parts.spool
    assert spool is not None
    async with running(spool.run()):
        await spool.opened.wait()
        service = spool_service(MAKER, spool)
    assert (service.status, service.metrics["failures"]) == ("FAILED", 1)
    assert "make it a directory that the agent's user can write" in service.message
    assert service.message.endswith("; meanwhile packets wait in memory alone")


# -- a decoder


@pytest.mark.parametrize(
    ("loaded", "status", "message"),
    [
        (None, "STARTING", "loading databases"),
        (databases(), "OK", "1 messages, 1 signals from 1 database files"),
        (
            databases("Drive", "no file matches x.dbc"),
            "DEGRADED",
            "1 messages, 1 signals from 1 database files; no file matches x.dbc",
        ),
        (
            ConfiguredDatabases(None, (), ("no file matches x.dbc",)),
            "FAILED",
            "nothing is decoded; no file matches x.dbc",
        ),
    ],
)
async def test_a_decoder_is_as_good_as_its_databases(
    loaded: ConfiguredDatabases | None, status: str, message: str
) -> None:
    parts = AgentParts([log_section()])
    (dongle,) = parts.dongles
    dongle.pipeline.add_decoder()
    dongle.use(loaded)
    service = decoder_service(MAKER, dongle)
    assert stands(service) == (status, StatusCode[status], message)
    assert (service.label, service.agent_service_id) == ("Decoder drive.log", "decoder.van7-log")


async def test_the_numbers_of_a_decoder_say_what_became_of_every_value() -> None:
    parts = AgentParts([log_section()])
    (dongle,) = parts.dongles
    assert values_ledger(dongle) is None
    dongle.pipeline.add_decoder()
    dongle.use(databases())
    put_values(dongle, 9)
    assert dongle.pipeline.decoder is not None
    dongle.pipeline.limit(Stage.NO_SIGNALS)
    put_values(dongle, 4, 100.0)  # of a signal one value in a minute is left by then
    metrics = decoder_service(MAKER, dongle).metrics
    assert (metrics["values_sent"], metrics["values_waiting"]) == (10, 9)
    assert (metrics["values_over_budget"], metrics["values_lost"]) == (1, 1)
    ledger = values_ledger(dongle)
    assert ledger is not None
    assert ledger.unexplained == 0
    assert ledger.sentence() == "1 lost of 10 values: 1 because the day's byte budget was spent"


# -- the uplink


def of_uplink(parts: AgentParts, url: str = "https://user@s.example") -> Any:
    return uplink_service(MAKER, parts.uplink, ServerSection(url), parts.clock.monotonic_seconds(), NOW_NS)


async def test_an_uplink_in_clear_text_to_another_machine_is_degraded_where_nobody_allowed_it(
    mocker: MockerFixture,
) -> None:
    parts = AgentParts([log_section()])
    connected = UplinkState(UplinkPhase.STREAMING, "streaming")
    mocker.patch.object(Uplink, "state", new_callable=mocker.PropertyMock, return_value=connected)
    doubtful = of_uplink(parts, url="http://10.0.0.7:8080")
    assert (doubtful.status, doubtful.metrics["fault"]) == ("DEGRADED", "clear_text")
    assert "allow_clear_text = true" in doubtful.message
    allowed = uplink_service(MAKER, parts.uplink, ServerSection("http://10.0.0.7", None, None, True), 1.0, 1)
    assert (allowed.status, allowed.metrics["fault"]) == ("OK", "")
    assert "everyone on the way can read" in allowed.message
    for url in ("https://10.0.0.7", "http://127.0.0.1:8080"):
        assert stands(of_uplink(parts, url=url)) == ("OK", 0, "streaming")


async def test_an_uplink_before_its_first_connection() -> None:
    parts = AgentParts([log_section()])
    service = of_uplink(parts)
    assert stands(service) == ("STARTING", 3, "connecting to http://127.0.0.1:1")
    metrics = service.metrics
    assert metrics["server_host"] == "s.example"
    assert (metrics["connected_since"], metrics["refused"], metrics["reconnects"]) == (None, False, 0)
    assert metrics["packets_unacknowledged"] == 2, "that the lane begins, and by which clock"


async def test_an_uplink_that_streams_and_greets_again() -> None:
    clock = StandingClock()
    async with listening() as server:
        parts = AgentParts([log_section("van7-a"), log_section("van7-b")], server.url, clock)
        async with streaming(parts.uplink):
            await parts.uplink.until(lambda: all(lane.is_empty for lane in parts.lanes))
            service = of_uplink(parts)
            assert stands(service) == ("OK", 0, f"streaming to {server.url}")
            metrics = service.metrics
            assert metrics["connected_since"] == "2025-12-22T15:31:02.000000Z"
            assert metrics["bytes_up"] > metrics["bytes_down"] > 0
            assert metrics["bytes_up_today"] == metrics["bytes_up"]
            assert (metrics["packets_unacknowledged"], metrics["oldest_unacknowledged_seconds"]) == (0, None)
            server.acks = False
            for dongle, made_at_seconds in zip(parts.dongles, (992.5, 990.25), strict=True):
                dongle.pipeline.frames.take_loss(GapReason.SOURCE, 1, made_at_seconds)
            metrics = of_uplink(parts).metrics
            assert metrics["packets_unacknowledged"] == 2
            assert metrics["oldest_unacknowledged_seconds"] == 9.75
            parts.uplink.reconnect()
            service = of_uplink(parts)
            assert stands(service) == ("STARTING", 3, "greeting the server again")
            assert service.metrics["connected_since"] is None
            await parts.uplink.until(lambda: parts.uplink.state.connected)
            assert of_uplink(parts).metrics["reconnects"] == 1


async def test_an_uplink_without_acks_is_not_well_though_it_is_connected() -> None:
    async with listening(acks=False) as server:
        parts = AgentParts([log_section()], server.url)
        async with streaming(parts.uplink):
            put_frames(parts.dongles[0], 3)
            now_seconds = parts.clock.monotonic_seconds()
            early = uplink_service(MAKER, parts.uplink, ServerSection(server.url), now_seconds + 5, NOW_NS)
            late = uplink_service(MAKER, parts.uplink, ServerSection(server.url), now_seconds + 36, NOW_NS)
    assert stands(early) == ("OK", 0, f"streaming to {server.url}")
    assert (late.status, late.metrics["fault"]) == ("DEGRADED", "stalled")
    assert "for 36 s nothing has been acknowledged: see whether the server stores" in late.message


async def test_an_uplink_that_is_refused_says_so_and_counts_it() -> None:
    async with listening() as server:
        server.refuses = True
        parts = AgentParts([log_section()], server.url)
        async with running(parts.uplink.run()):
            while not parts.uplink.state.failed:
                await parts.uplink.progress.wait()
                parts.uplink.progress.clear()
            service = of_uplink(parts)
    assert service.status == "FAILED"
    assert "enrol it again with `edge-agent enroll --server " in service.message
    assert (service.metrics["refused"], service.metrics["refusals"]) == (True, 1)
    assert service.metrics["fault"] == "refused"


async def test_an_uplink_that_waits_has_failed_and_is_not_refused() -> None:
    parts = AgentParts([log_section()])
    async with running(parts.uplink.run()):
        await parts.uplink.progress.wait()
        service = of_uplink(parts)
    assert service.status == "FAILED"
    assert "cannot be reached (Connection refused): check the port" in service.message
    assert (service.metrics["refused"], service.metrics["refusals"]) == (False, 0)
