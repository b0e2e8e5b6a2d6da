"""One dongle: what is said of it, which adapter it is, which tables are kept, what its link leads to."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from can_stream.databases.configured import ConfiguredDatabases
from can_stream.frames.batches import FrameBatch
from can_stream.lanes.sender import LaneSender
from can_stream.protocol.control import MAX_TABLES
from can_stream.protocol.marker import Marker, activation_name
from can_stream.protocol.packets import Body, Gap, GapReason, decode_packet
from edge_agent.bus.source import Item
from edge_agent.config.dongle import DongleSection
from edge_agent.config.frame_filters import FrameFilter
from edge_agent.config.sections import UplinkSection
from edge_agent.dongles.dongle import Dongle, DongleEvents
from edge_agent.dongles.pipeline import LaneSections
from edge_agent.errors import SourceError
from edge_agent.health.link_counters import STALL_SECONDS
from edge_agent.host.adapter import Adapter
from edge_agent.host.clock import Clock
from edge_agent.host.inventory import Inventory
from edge_agent.state import State, StatusCode
from edge_agent.uplink.hello import new_start_id
from tests.helpers.agent_parts import StandingClock, databases, log_section, slcan_section
from tests.helpers.can_links import virtual_link
from tests.helpers.conditions import Gathered, eventually
from tests.helpers.lawicel import LawicelAdapter


class Plugged(Inventory):
    """What the test has plugged in."""

    def __init__(self) -> None:
        super().__init__()
        self.there: list[Adapter] = []

    def adapters(self) -> list[Adapter]:
        return list(self.there)

    def plug(self, adapter: LawicelAdapter, device_id: str) -> None:
        """A stick with a serial number."""
        names = frozenset({adapter.device, adapter.path})
        node = len(self.there) + 1
        self.there.append(Adapter("slcan", adapter.device, node, names, device_id=device_id))


def a_dongle(
    section: DongleSection,
    events: DongleEvents | None = None,
    inventory: Inventory | None = None,
    clock: Clock | None = None,
    claimed: Sequence[str] = (),
) -> Dongle:
    sections = LaneSections(new_start_id(), UplinkSection())
    return Dongle(section, sections, clock or Clock(), events or DongleEvents(), inventory, claimed)


@contextlib.asynccontextmanager
async def reading(dongle: Dongle) -> AsyncIterator[None]:
    """Its reader runs and its frames go into its lanes."""
    dongle.reader.start()
    feeding = asyncio.create_task(dongle.feed())
    try:
        yield
    finally:
        await dongle.reader.stop()
        await asyncio.wait([feeding])
        feeding.result()


async def last_is(states: Gathered[State], code: StatusCode, text: str) -> None:
    """It stands so at last."""
    while states[-1].code is not code or text not in states[-1].message:
        await states.until(len(states) + 1)


@pytest.fixture
def adapter() -> Iterator[LawicelAdapter]:
    with LawicelAdapter() as plugged:
        yield plugged


# -- who it is


def test_where_a_log_lies_is_nobody_elses_business() -> None:
    dongle = a_dongle(log_section())
    assert (dongle.info.channel, dongle.info.interface) == ("drive.log", "log")
    assert dongle.whereabouts is None
    assert dongle.info.signal_tables == []


async def test_what_it_reads_is_told_by_its_id(adapter: LawicelAdapter) -> None:
    frames: Gathered[tuple[str, FrameBatch]] = Gathered()
    states: Gathered[tuple[str, State]] = Gathered()
    ids: list[tuple[str, int, bool]] = []

    def hear(name: str, batch: FrameBatch) -> FrameBatch:
        frames.append((name, batch))
        return batch

    dongle = a_dongle(
        slcan_section(adapter.path),
        DongleEvents(
            lambda *unknown: ids.append(unknown),
            hear,
            lambda name, state: states.append((name, state)),
        ),
    )
    dongle.pipeline.add_decoder()
    dongle.use(databases())
    async with reading(dongle):
        await states.until(1)
        assert (states[0][0], states[0][1].code) == ("van7-can0", StatusCode.OK)
        adapter.send(b"t10082A00000000000000\rt7E80\rt7E80\r")
        while sum(len(batch) for _, batch in frames) < 3:
            await frames.until(len(frames) + 1)
    assert {name for name, _ in frames} == {"van7-can0"}
    assert ids == [("van7-can0", 0x7E8, False)], "once each"
    assert dongle.pipeline.frames.waiting_frames == 3
    assert dongle.pipeline.decoder is not None
    assert dongle.pipeline.decoder.lane.waiting_frames == 1
    assert states[-1][1].code is StatusCode.STOPPED


# -- which adapter it is


async def test_it_follows_its_adapter_to_another_port() -> None:
    inventory, states = Plugged(), Gathered[State]()
    events = DongleEvents(state=lambda _, state: states.append(state))
    section = DongleSection(id="van7-a1", interface="slcan", bitrate=500_000, device_id="A1")
    dongle = a_dongle(section, events, inventory)
    assert (dongle.channel, dongle.info.channel, dongle.info.device_id) == ("A1", "A1", "A1")
    first, second = LawicelAdapter(), LawicelAdapter()
    inventory.plug(first, "A1")
    async with reading(dongle):
        await states.until(1)
        assert states[0].code is StatusCode.OK
        assert states[0].message.endswith("; this is the adapter A1")
        assert (dongle.channel, dongle.info.channel) == (first.device, first.device)
        inventory.there.clear()
        first.unplug()
        await last_is(states, StatusCode.FAILED, "the adapter A1 is not there: plug it in")
        assert dongle.info.channel == "A1", "it has no port now"
        inventory.plug(second, "A1")
        dongle.reader.try_now()
        await last_is(states, StatusCode.OK, second.device)
        assert (dongle.info.channel, dongle.info.device_id) == (second.device, "A1")
    second.unplug()


async def test_a_channel_is_the_adapter_that_was_read_under_it(adapter: LawicelAdapter) -> None:
    inventory, states = Plugged(), Gathered[State]()
    inventory.plug(adapter, "A1")
    events = DongleEvents(state=lambda _, state: states.append(state))
    dongle = a_dongle(slcan_section(adapter.device), events, inventory, claimed=[adapter.device])
    async with reading(dongle):
        await states.until(1)
        assert (dongle.info.channel, dongle.info.device_id) == (adapter.device, "A1")
        assert "this is" not in states[0].message
        with LawicelAdapter() as moved:
            inventory.there.clear()
            inventory.plug(moved, "A1")
            adapter.unplug()
            await last_is(states, StatusCode.OK, moved.device)
            assert states[-1].message.endswith(f"; this is the adapter A1, which was {adapter.device}")
            assert dongle.info.channel == moved.device


# -- its tables


def hashes(names: Sequence[str]) -> list[str]:
    return [table.hash.hex() for name in names if (table := databases(name).table) is not None]


def test_the_tables_of_now_and_before_are_known_up_to_a_limit() -> None:
    dongle = a_dongle(log_section())
    dongle.pipeline.add_decoder()
    names = [f"Message{number}" for number in range(MAX_TABLES + 3)]
    for name in names:
        dongle.use(databases(name))
    assert list(dongle.tables) == hashes(names[: -MAX_TABLES - 1 : -1]), "the newest first"
    assert dongle.info.signal_tables == list(dongle.tables)
    table = databases(names[-1]).table
    assert table is not None
    assert dongle.tables[table.hash.hex()] == table.to_bytes()


def test_a_table_that_comes_back_is_the_first_again_and_pushes_none_out() -> None:
    dongle = a_dongle(log_section())
    dongle.pipeline.add_decoder()
    names = [f"Message{number}" for number in range(MAX_TABLES)]
    for name in [*names, names[0], names[0]]:
        dongle.use(databases(name))
    assert list(dongle.tables) == hashes([names[0], *names[:0:-1]])


def test_databases_that_cannot_be_loaded_leave_the_former_tables_known_and_decode_nothing() -> None:
    dongle = a_dongle(log_section())
    dongle.pipeline.add_decoder()
    dongle.use(databases())
    broken = ConfiguredDatabases(None, (), ("no file matches x.dbc",))
    dongle.use(broken)
    assert dongle.databases is broken
    assert list(dongle.tables) == hashes(["Drive"]), "its values may still wait"
    assert dongle.pipeline.decoder is not None
    assert dongle.pipeline.decoder.table is None


def test_without_a_decoder_no_table_is_kept() -> None:
    dongle = a_dongle(log_section())
    dongle.use(databases())
    assert dongle.tables == {}


async def test_a_log_begins_once_its_databases_are_known_or_there_are_none(tmp_path: Path) -> None:
    path = tmp_path / "drive.log"
    path.write_text("(1.000000) can0 100#2A\n")
    dongle = a_dongle(DongleSection(str(path), id="van7-log", interface="log", options={"speed": "max"}))
    dongle.reader.start()
    feeding = asyncio.create_task(dongle.feed())
    while dongle.reader.counts.waiting == 0:
        await asyncio.wait([feeding], timeout=0.01)
    assert not feeding.done()
    assert dongle.pipeline.frames.waiting_frames == 0
    dongle.use(None)
    await asyncio.wait_for(feeding, 30)
    assert dongle.pipeline.frames.waiting_frames == 1
    await dongle.reader.stop()


# -- what the kernel says of its interface


class SilentBus:
    """Opened, and then nothing comes; in place of an interface that no machine of tests has."""

    info = "socketcan vcan0"
    malformed = 0
    can_wait = False

    def __init__(self) -> None:
        self._never = threading.Event()

    def read(self, timeout_seconds: float) -> Sequence[Item]:
        self._never.wait(min(timeout_seconds, 0.02))
        return []

    def close(self) -> None:
        pass


def gaps(lane: LaneSender) -> list[Gap]:
    """What it says is lost since it began."""
    lane.connect(0.0)
    bodies = []
    while (packet := lane.next_packet()) is not None:
        bodies.append(decode_packet(packet[1]).body)
    return [body for body in bodies if isinstance(body, Gap) and body.reason is GapReason.SOURCE]


def read_from(channel: str = "vcan0", clock: Clock | None = None) -> Dongle:
    dongle = a_dongle(DongleSection(channel, id="van7-can0"), clock=clock)
    dongle.bus.take_source(State(StatusCode.OK, "reading socketcan vcan0"))
    return dongle


def test_an_overrun_is_a_gap_since_the_look_before_in_each_lane() -> None:
    clock = StandingClock()
    dongle = read_from(clock=clock)
    dongle.pipeline.add_decoder()
    dongle.take_link(virtual_link())
    before_ns = clock.wall_ns()
    clock.wall_seconds += 3
    dongle.take_link(virtual_link({"rx_over_errors": 2}))
    clock.wall_seconds += 3
    dongle.take_link(virtual_link({"rx_over_errors": 2}))
    for lane in dongle.pipeline.lanes:
        (gap,) = gaps(lane)
        assert (gap.frames, gap.first_ns, gap.last_ns) == (None, before_ns, before_ns + 3 * 10**9)
    assert dongle.pipeline.uncounted_losses == 1


def test_a_gap_does_not_end_before_it_begins_where_the_clock_was_set_back() -> None:
    clock = StandingClock()
    dongle = read_from(clock=clock)
    dongle.take_link(virtual_link())
    clock.wall_seconds -= 3600
    dongle.take_link(virtual_link({"rx_over_errors": 1}))
    (gap,) = gaps(dongle.pipeline.frames)
    assert gap.first_ns == gap.last_ns == clock.wall_ns()


def test_the_kernel_is_not_asked_of_what_is_no_interface_of_it(adapter: LawicelAdapter) -> None:
    dongle = a_dongle(slcan_section(adapter.path))
    dongle.take_link(virtual_link({"rx_over_errors": 1}))
    dongle.take_link(virtual_link({"rx_over_errors": 9}))
    assert gaps(dongle.pipeline.frames) == []


@pytest.mark.parametrize("fault", ["unplugged", "dead_driver"])
async def test_a_bus_that_is_dead_for_all_the_kernel_says_is_opened_again(
    fault: str, mocker: MockerFixture
) -> None:
    opened = mocker.patch("edge_agent.dongles.dongle.open_source", side_effect=lambda *_: SilentBus())
    clock, states = StandingClock(), Gathered[State]()
    dongle = a_dongle(
        DongleSection("vcan0", id="van7-can0"),
        DongleEvents(state=lambda _, state: states.append(state)),
        clock=clock,
    )
    async with reading(dongle):
        await states.until(1)
        dongle.take_link(virtual_link({"rx_packets": 5}))
        if fault == "unplugged":
            dongle.take_link(virtual_link({"rx_packets": 5}, index=9))
        else:
            dongle.take_link(virtual_link({"rx_packets": 6}))
            clock.seconds += STALL_SECONDS
            assert dongle.reader.state.code is StatusCode.OK
            dongle.take_link(virtual_link({"rx_packets": 7}))
        await states.until(2)
        assert (states[1].code, states[1].fault) == (StatusCode.FAILED, fault)
        assert "it is opened again" in states[1].message
        await states.until(3)
        assert dongle.reader.state.code is StatusCode.OK
    assert opened.call_count == 2


class FilteringBus:
    """Reads nothing, and can be asked to give everything."""

    info, malformed, can_wait = "a filtering bus", 0, False

    def __init__(self) -> None:
        self.gives_everything = False

    def give_everything(self) -> None:
        self.gives_everything = True

    def read(self, timeout_seconds: float) -> list[Item]:
        threading.Event().wait(0.001)
        return []

    def close(self) -> None:
        pass


KERNEL_FILTERED = DongleSection("vcan0", id="van7-can0", frame_filters=[FrameFilter(0x7DF)])
ACTIVATION = activation_name("ab" * 16, 1)


def marked(dongle: Dongle) -> bool:
    return dongle.pipeline.frames.activation == ACTIVATION


async def test_the_kernel_filters_no_more_before_the_marker_says_that_all_is_carried(
    mocker: MockerFixture,
) -> None:
    bus = FilteringBus()
    opened = mocker.patch("edge_agent.dongles.dongle.open_source", side_effect=lambda *_: bus)
    dongle = a_dongle(KERNEL_FILTERED)
    before = list[bool]()
    mark = dongle.pipeline.mark

    def noted(activation: str) -> None:
        before.append(bus.gives_everything)
        mark(activation)

    mocker.patch.object(dongle.pipeline, "mark", noted)
    async with reading(dongle):
        dongle.carry(ACTIVATION)
        await asyncio.to_thread(eventually, lambda: marked(dongle), "it is marked")
        assert before == [True]
        assert opened.call_args.args[0].frame_filters == KERNEL_FILTERED.frame_filters
        dongle.reader.reopen(SourceError("READ_FAILED", "unplugged"))
        await asyncio.to_thread(eventually, lambda: opened.call_count == 2, "it is opened again")
        assert opened.call_args.args[0].frame_filters == [], "not for a moment"
        dongle.carry("")
        await asyncio.to_thread(eventually, lambda: not dongle.pipeline.is_marked, "it is marked no more")


async def test_where_nothing_is_filtered_nothing_is_changed(mocker: MockerFixture) -> None:
    bus = FilteringBus()
    mocker.patch("edge_agent.dongles.dongle.open_source", side_effect=lambda *_: bus)
    dongle = a_dongle(DongleSection("vcan0", id="van7-can0"))
    async with reading(dongle):
        dongle.carry(ACTIVATION)
        await asyncio.to_thread(eventually, lambda: marked(dongle), "it is marked")
        assert not bus.gives_everything


async def test_of_two_activations_the_newer_holds_though_the_bus_takes_its_time(
    mocker: MockerFixture,
) -> None:
    bus = FilteringBus()
    mocker.patch("edge_agent.dongles.dongle.open_source", side_effect=lambda *_: bus)
    dongle = a_dongle(KERNEL_FILTERED)
    for name in (activation_name("ab" * 16, 2), "", ACTIVATION):
        dongle.carry(name)  # before it was ever opened
    async with reading(dongle):
        await asyncio.to_thread(eventually, lambda: marked(dongle), "it is marked")
    markers = [one for one in bodies(dongle.pipeline.frames) if isinstance(one, Marker)]
    assert markers == [Marker(ACTIVATION)]


def bodies(lane: LaneSender) -> list[Body]:
    lane.connect(0.0)
    return [decode_packet(sent[1]).body for _ in range(lane.next_seq) if (sent := lane.next_packet())]
