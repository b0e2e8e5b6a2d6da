"""The slcan source against adapters at a pseudo terminal: all dialects, all faults, through the reader."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from can_stream.frames.batches import FD_LENGTHS, FrameBatch, FrameFlag, batch_of, concatenate
from edge_agent.bus.opening import open_source
from edge_agent.bus.reader import ReaderLimits, SourceReader
from edge_agent.bus.slcan import SlcanBus
from edge_agent.bus.source import Dropped, Item
from edge_agent.config.dongle import DongleSection
from edge_agent.errors import SourceError
from edge_agent.host.clock import Clock
from edge_agent.state import State, StatusCode
from tests.helpers.lawicel import LawicelAdapter
from tests.helpers.slcan_dialects import DIALECTS

SPOKEN = (
    "CANable 2", "CANable 2 of Nakakiyo with Z1", "CANable 2.5", "CANable 2.5 with feedback", "ESP32-SLCAN",
    "ESP32RET with Z1", "SLCAN_26k80", "stm32f4-slcan", "CANdapter", "sam_slcan",
)  # fmt: skip
LIMITS = ReaderLimits(read_timeout_seconds=0.05)


class HastyClock(Clock):
    """A clock that the test can put forward."""

    def __init__(self) -> None:
        self.ahead_ns = 0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.ahead_ns


@pytest.fixture
def plug() -> Iterator[Callable[..., LawicelAdapter]]:
    with ExitStack() as plugged:
        yield lambda **wrong: plugged.enter_context(LawicelAdapter(**wrong))


def dongle(port: str, **changes: Any) -> DongleSection:
    return DongleSection(port, interface="slcan", **{"bitrate": 500_000, **changes})


def failure_of(section: DongleSection) -> SourceError:
    with pytest.raises(SourceError) as caught:
        SlcanBus(section)
    return caught.value


def read_until(source: SlcanBus, done: Callable[[list[Item | State]], object]) -> list[Item | State]:
    """What was read once `done` says that it is enough."""
    items: list[Item | State] = []
    for _ in range(400):
        if done(items):
            return items
        items += source.read(0.05)
    raise AssertionError(f"not what was waited for: {items}")


def frames_in(items: list[Item | State]) -> FrameBatch:
    return concatenate([item for item in items if isinstance(item, FrameBatch)])


def read_frames(source: SlcanBus, count: int) -> FrameBatch:
    return frames_in(read_until(source, lambda items: len(frames_in(items)) >= count))


def traffic(count: int, seed: int = 1) -> tuple[FrameBatch, list[bytes]]:
    """Frames of all kinds, and each as an adapter writes it."""
    dice = random.Random(seed)
    rows, lines = [], []
    for _ in range(count):
        letter = dice.choice("ttttTTTTrRdDbB")
        extended, is_fd, remote = letter.isupper(), letter in "dDbB", letter in "rR"
        arbitration_id = dice.randrange(1 << (29 if extended else 11))
        code = dice.randrange(16 if is_fd else 9)
        length = FD_LENGTHS[code]
        data = b"" if remote else dice.randbytes(length)
        flags = (FrameFlag.EXTENDED if extended else 0) | (FrameFlag.REMOTE if remote else 0)
        flags |= (FrameFlag.FD if is_fd else 0) | (FrameFlag.BRS if letter in "bB" else 0)
        rows.append((0, arbitration_id, int(flags), length, data))
        lines.append(
            f"{letter}{arbitration_id:0{8 if extended else 3}X}{code:X}{data.hex().upper()}".encode()
        )
    return batch_of(rows), lines


def same(found: FrameBatch, sent: FrameBatch) -> bool:
    """Whatever their times."""
    return FrameBatch(sent.timestamp_ns, found.arbitration_id, found.flags, found.length, found.data).equals(
        sent
    )


@pytest.mark.parametrize(
    ("changes", "commands"),
    [
        ({}, ["S6", "Z0", "L"]),
        ({"mode": "normal"}, ["S6", "Z0", "O"]),
        ({"bitrate": 10_000, "options": {"timestamps": True}}, ["S0", "Z1", "L"]),
        ({"bitrate": 750_000}, ["S7", "Z0", "L"]),
        ({"bitrate": 800_000}, ["S7", "Z0", "L"]),
        ({"bitrate": 1_000_000, "fd": True}, ["S8", "Z0", "L"]),
        ({"fd": True, "data_bitrate": 5_000_000}, ["S6", "Y5", "Z0", "L"]),
    ],
)
def test_an_adapter_is_set_up_as_configured_and_closed(
    plug: Callable[..., LawicelAdapter], changes: dict[str, Any], commands: list[str]
) -> None:
    adapter = plug()
    with closing(open_source(dongle(adapter.path, **changes))) as source:
        assert adapter.opened.wait(10)
        assert source.info.startswith(f"slcan {adapter.path}, version 1013, serial number A12F")
        assert ("750 kbit/s" in source.info) == ("S7" in commands)
    with closing(open_source(dongle(adapter.path))):
        pass  # it can be had again, and has heard all of it by now
    at = adapter.commands.index("N") + 1
    assert adapter.commands[:at] == ["C", "V", "N"]
    assert adapter.commands[at : at + len(commands)] == commands
    assert "C" in adapter.commands[at + len(commands) :]


@pytest.mark.parametrize("line_end", [b"\r", b"\r\n", b"\n"])
@pytest.mark.parametrize("stamps", [True, False])
@pytest.mark.parametrize("mute", [True, False])
async def test_every_dialect_at_full_speed(
    plug: Callable[..., LawicelAdapter], line_end: bytes, stamps: bool, mute: bool
) -> None:
    sent, lines = traffic(20_000)
    adapter = plug(line_end=line_end if line_end != b"\n" else b"\r", mute=mute)
    if stamps:
        lines = [line + b"%04X" % (number // 10 % 60_000) for number, line in enumerate(lines)]
    async with reading(adapter, options={"timestamps": stamps}) as (reader, states):
        assert await asyncio.to_thread(adapter.opened.wait, 10)
        content = b"".join(line + line_end for line in lines)
        sender = threading.Thread(target=adapter.send, args=(content,))
        sender.start()
        batches: list[FrameBatch] = []
        while sum(map(len, batches)) < len(sent):
            batches += [item for item in await reader.read() if isinstance(item, FrameBatch)]
        await asyncio.to_thread(sender.join)
        assert reader.malformed == 0
        assert {state.code for state in states[1:]} == {StatusCode.OK}
        assert ("the adapter's time" in states[-1].message) == stamps
    assert same(concatenate(batches), sent)


@asynccontextmanager
async def reading(
    adapter: LawicelAdapter, port: Path | None = None, **changes: Any
) -> AsyncIterator[tuple[SourceReader, list[State]]]:
    states: list[State] = []
    section = dongle(str(port or adapter.path), **changes)
    reader = SourceReader("van7-can0", lambda: open_source(section), states.append, LIMITS)
    reader.start()
    try:
        yield reader, states
    finally:
        await reader.stop()


def test_frames_have_the_time_at_which_they_were_read(plug: Callable[..., LawicelAdapter]) -> None:
    adapter = plug()
    with closing(SlcanBus(dongle(adapter.path))) as source:
        before_ns = Clock().wall_ns()
        adapter.send(b"t0010\rt0020\r")
        stamps = read_frames(source, 2).timestamp_ns.tolist()
        assert before_ns <= stamps[0] <= stamps[1] <= Clock().wall_ns()


@pytest.mark.parametrize("refuses", ["", "Z"])
def test_timestamps_that_nobody_asked_for_are_used_and_that_is_said(
    plug: Callable[..., LawicelAdapter], refuses: str
) -> None:
    adapter = plug(refuses=refuses)
    with closing(SlcanBus(dongle(adapter.path))) as source:
        adapter.send(b"".join(b"t1238%016X%04X\r" % (number, 7 * number) for number in range(50)))
        frames = read_frames(source, 50)
        assert (np.diff(frames.timestamp_ns) == 7_000_000).all()
        assert source.malformed == 0
        assert "sends timestamps unasked, which are used" in source.info


@pytest.mark.parametrize("refuses", ["", "Z"])
def test_timestamps_that_do_not_come_are_a_wish_that_is_said(
    plug: Callable[..., LawicelAdapter], refuses: str
) -> None:
    adapter = plug(refuses=refuses)
    with closing(SlcanBus(dongle(adapter.path, options={"timestamps": True}))) as source:
        before_ns = Clock().wall_ns()
        adapter.send(b"t0010\rt0010\r")
        assert (read_frames(source, 2).timestamp_ns >= before_ns).all()
        assert source.malformed == 0
        assert "it sends no timestamps that can be used" in source.info


def test_an_adapter_that_speaks_while_it_is_asked_keeps_its_name(
    plug: Callable[..., LawicelAdapter],
) -> None:
    adapter, chatter = plug(), threading.Event()

    def chat() -> None:
        while not chatter.wait(0.0005):
            adapter.send(b"t123800000000000001FA\r")

    talking = threading.Thread(target=chat, daemon=True)
    talking.start()
    try:
        with closing(SlcanBus(dongle(adapter.path))) as source:
            assert "version 1013" in source.info
            assert "t123" not in source.info
            assert len(read_frames(source, 1))
    finally:
        chatter.set()
        talking.join()


@pytest.mark.parametrize("name", SPOKEN)
async def test_an_adapter_that_answers_in_its_own_way_is_set_up_and_read(
    plug: Callable[..., LawicelAdapter], name: str
) -> None:
    """From set-up to the verdict, in the agent's reader, for those that answer each in a way of its own."""
    (dialect,) = [one for one in DIALECTS if one.name == name]
    adapter = plug(answers=dialect.answers)
    sent = batch_of([(0, 0x100 + number, 0, 2, number.to_bytes(2, "big")) for number in range(60)])
    async with reading(adapter, mode="normal", options={"timestamps": bool(dialect.z1)}) as (reader, states):
        assert await asyncio.to_thread(adapter.opened.wait, 10)
        adapter.send(dialect.greeting)
        began_us = time.monotonic_ns() // 1000
        for number in range(60):
            us = time.monotonic_ns() // 1000 - began_us
            adapter.send(dialect.line(row_of(sent, number), us, number, dialect.z1))
            await asyncio.sleep(0.001)
        batches: list[FrameBatch] = []
        while sum(map(len, batches)) < len(sent):
            batches += [item for item in await reader.read() if isinstance(item, FrameBatch)]
        assert reader.malformed == 0
        assert ("the adapter's time" in states[-1].message) == bool(dialect.z1)
        assert {state.code for state in states[1:]} == {StatusCode.OK}
    assert same(concatenate(batches), sent)


def row_of(frames: FrameBatch, row: int) -> tuple[int, int, int, int, bytes]:
    length = int(frames.length[row])
    return 0, int(frames.arbitration_id[row]), 0, length, frames.data[row, :length].tobytes()


def test_noise_is_counted_and_the_next_frame_read(plug: Callable[..., LawicelAdapter]) -> None:
    adapter = plug()
    with closing(SlcanBus(dongle(adapter.path))) as source:
        adapter.send(b"t0010\r\xff\xfe\x00\r" + b"7" * 3_000 + b"\rt12\rt1238AA\r\at0020\r")
        assert read_frames(source, 2).arbitration_id.tolist() == [1, 2]
        assert source.malformed == 4


def test_nothing_but_noise_is_a_failure_that_names_the_speed(plug: Callable[..., LawicelAdapter]) -> None:
    adapter = plug(flags=None)
    with closing(SlcanBus(dongle(adapter.path, options={"serial_baudrate": 57_600}))) as source:
        threading.Thread(target=adapter.send, args=(random.Random(1).randbytes(6_000),), daemon=True).start()
        items = read_until(source, lambda items: any(isinstance(item, State) for item in items))
    (state,) = [item for item in items if isinstance(item, State)]
    assert (state.code, state.fault) == (StatusCode.FAILED, "garbage")
    assert "57600 baud" in state.message
    assert "options.serial_baudrate" in state.message


@pytest.mark.parametrize(
    ("refuses", "changes", "code", "remedy"),
    [
        ("S", {}, "BAD_OPTION", "bitrate"),
        ("Y", {"fd": True, "data_bitrate": 2_000_000}, "NO_FD", "leave out `fd`"),
        ("L", {}, "NO_LISTEN_ONLY", 'mode = "normal"'),
        ("O", {"mode": "normal"}, "CANNOT_OPEN", "plug it in again"),
    ],
)
def test_what_an_adapter_refuses_is_told_with_the_remedy(
    plug: Callable[..., LawicelAdapter], refuses: str, changes: dict[str, Any], code: str, remedy: str
) -> None:
    error = failure_of(dongle(plug(refuses=refuses).path, **changes))
    assert error.code == code
    assert remedy in error.remedy


@pytest.mark.parametrize("refuses", ["V", "N", "Z", "F", "VNZF"])
def test_an_adapter_that_knows_little_is_read(plug: Callable[..., LawicelAdapter], refuses: str) -> None:
    adapter = plug(refuses=refuses)
    with closing(SlcanBus(dongle(adapter.path))) as source:
        adapter.send(b"t0010\r")
        assert len(read_frames(source, 1)) == 1
        assert source.malformed == 0


def test_an_adapter_that_never_answers_is_read_and_that_is_said(plug: Callable[..., LawicelAdapter]) -> None:
    adapter = plug(mute=True)
    with closing(SlcanBus(dongle(adapter.path))) as source:
        assert "acknowledges nothing" in source.info
        adapter.send(b"t0010\r")
        assert len(read_frames(source, 1)) == 1


def test_an_adapter_that_restarts_when_its_port_is_opened_is_set_up_again(
    plug: Callable[..., LawicelAdapter],
) -> None:
    adapter, clock = plug(deaf=True), HastyClock()
    with closing(SlcanBus(dongle(adapter.path), clock)) as source:
        adapter.deaf = False
        clock.ahead_ns += 2_000_000_000
        items = read_until(source, lambda items: items)
        assert adapter.opened.wait(10)
        assert items[0] == State(StatusCode.OK, f"reading {source.info}")
        assert "version 1013" in source.info


def test_losses_and_troubles_that_the_adapter_tells_are_told(plug: Callable[..., LawicelAdapter]) -> None:
    adapter, clock = plug(flags=0), HastyClock()
    with closing(SlcanBus(dongle(adapter.path), clock)) as source:
        opened_ns = clock.wall_ns()
        for flags, code in ((0x09, StatusCode.DEGRADED), (0x20, StatusCode.DEGRADED), (0, StatusCode.OK)):
            source.read(0.05)
            adapter.flags = flags
            clock.ahead_ns += 3_000_000_000
            items = read_until(source, lambda items: any(isinstance(item, State) for item in items))
            losses = [item for item in items if isinstance(item, Dropped)]
            assert [loss.frames for loss in losses] == ([None] if flags & 9 else [])
            assert all(opened_ns - 10**9 < loss.first_ns < loss.last_ns for loss in losses)
            (state,) = [item for item in items if isinstance(item, State)]
            assert state.code == code
            assert ("termination" in state.message) == (flags == 0x20)


@pytest.mark.parametrize("flags", [None, 0])
def test_only_an_adapter_that_answers_is_asked_on(
    plug: Callable[..., LawicelAdapter], flags: int | None
) -> None:
    adapter, clock = plug(flags=flags), HastyClock()
    with closing(SlcanBus(dongle(adapter.path), clock)) as source:
        for number in range(1, 9):
            source.read(0.05)
            adapter.send(b"t%03X0\r" % number)
            read_frames(source, 1)
            clock.ahead_ns += 3_000_000_000
        adapter.send(b"t0000\r")
        read_frames(source, 1)
    asked = adapter.commands.count("F")
    assert asked <= 3 if flags is None else asked >= 7


def test_an_adapter_that_does_not_answer_any_more_is_dead_until_it_does(
    plug: Callable[..., LawicelAdapter],
) -> None:
    adapter, clock, answered = plug(flags=0), HastyClock(), set[str]()
    with closing(SlcanBus(dongle(adapter.path), clock, answered)) as source:
        source.read(0.0)
        read_until(source, lambda _: source._answers_status)
        adapter.deaf = True
        for _ in range(3):
            clock.ahead_ns += 3_000_000_000
            source.read(0.05)
        clock.ahead_ns += 3_000_000_000
        with pytest.raises(SourceError, match="has answered before and does not any more") as caught:
            source.read(0.05)
        assert caught.value.fault == "dead_driver"
    with pytest.raises(SourceError, match="does not any more"):
        SlcanBus(dongle(adapter.path), clock, answered)
    adapter.deaf = False
    with closing(SlcanBus(dongle(adapter.path), clock, answered)) as source:
        adapter.send(b"t0010\r")
        assert len(read_frames(source, 1)) == 1


def test_an_adapter_that_sends_frames_is_alive_whatever_it_answers(
    plug: Callable[..., LawicelAdapter],
) -> None:
    adapter, clock = plug(flags=0), HastyClock()
    with closing(SlcanBus(dongle(adapter.path), clock)) as source:
        source.read(0.0)
        read_until(source, lambda _: source._answers_status)
        adapter.deaf = True
        for _ in range(8):
            clock.ahead_ns += 3_000_000_000
            adapter.send(b"t0010\r")
            assert len(read_frames(source, 1)) == 1


def test_what_is_plugged_in_next_may_be_an_adapter_that_never_answers(
    plug: Callable[..., LawicelAdapter], tmp_path: Path
) -> None:
    port, answered = tmp_path / "can-adapter", set[str]()
    port.symlink_to(plug().path)
    SlcanBus(dongle(str(port)), answered=answered).close()
    port.unlink()
    with pytest.raises(SourceError, match="is not there"):
        SlcanBus(dongle(str(port)), answered=answered)
    port.symlink_to(plug(mute=True).path)
    with closing(SlcanBus(dongle(str(port)), answered=answered)) as source:
        assert "acknowledges nothing" in source.info


async def test_losses_reach_the_agent_and_the_bus_is_degraded(plug: Callable[..., LawicelAdapter]) -> None:
    adapter = plug(flags=0x01)
    async with reading(adapter) as (reader, states):
        items = await reader.read()
        assert isinstance(items[0], Dropped)
        assert items[0].frames is None
        assert states[-1].code == StatusCode.DEGRADED
        assert "lost frames" in states[-1].message


@pytest.mark.parametrize("mute", [False, True])
async def test_an_adapter_that_is_unplugged_and_plugged_in_again_is_read_again(
    plug: Callable[..., LawicelAdapter], tmp_path: Path, mute: bool
) -> None:
    port, adapter = tmp_path / "can-adapter", plug(mute=mute)
    port.symlink_to(adapter.path)
    async with reading(adapter, port) as (reader, states):
        assert await asyncio.to_thread(adapter.opened.wait, 10)
        adapter.send(b"t0011FF\r")
        assert isinstance((await reader.read())[0], FrameBatch)
        port.unlink()
        adapter.unplug()
        again = plug(mute=mute)
        port.symlink_to(again.path)
        assert await asyncio.to_thread(again.opened.wait, 10)
        again.send(b"t0021FF\r")
        batch = (await reader.read())[0]
        assert isinstance(batch, FrameBatch)
        assert batch.arbitration_id.tolist() == [2]
    failed = [state.message for state in states if state.code == StatusCode.FAILED]
    assert "check that the adapter is still plugged in" in failed[0]
    assert [state.code for state in states][-2:] == [StatusCode.OK, StatusCode.STOPPED]


def test_an_adapter_that_is_gone_is_told_and_can_be_closed(plug: Callable[..., LawicelAdapter]) -> None:
    adapter = plug(flags=None)
    source = SlcanBus(dongle(adapter.path))
    adapter.send(b"t0010\r")
    assert len(read_frames(source, 1)) == 1
    adapter.unplug()
    with pytest.raises(SourceError) as caught:
        read_until(source, lambda items: False)
    assert caught.value.code == "READ_FAILED"
    source.close()


def test_a_port_that_is_not_there_is_told() -> None:
    error = failure_of(dongle("/dev/no-such-port"))
    assert error.code == "NO_DEVICE"
    assert "plug it in" in error.remedy


def test_a_port_that_another_uses_is_told_with_its_name(plug: Callable[..., LawicelAdapter]) -> None:
    adapter = plug()
    with closing(SlcanBus(dongle(adapter.path))):
        error = failure_of(dongle(adapter.path))
    assert error.code == "BUSY"
    assert "(process " in error.remedy


def test_a_file_that_is_no_port_is_told(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no port")
    assert failure_of(dongle(str(path))).code == "CANNOT_OPEN"


def test_how_old_a_frame_is_counts_from_before_the_first_piece_of_its_line(
    plug: Callable[..., LawicelAdapter],
) -> None:
    adapter, clock = plug(), Clock()
    with closing(SlcanBus(dongle(adapter.path))) as source:
        assert adapter.opened.wait(10)
        for _ in range(3):
            source.read(0.01)
        first_ns = clock.boottime_ns()
        adapter.send(b"t1")
        for _ in range(5):
            assert not len(frames_in(source.read(0.05)))
        adapter.send(b"231AA\rt1231BB\r")
        assert len(read_frames(source, 2)) == 2
        assert 0 < source.born_ns <= first_ns, "found empty since, but a piece of it was here"
        source.read(0.01)
        second_ns = clock.boottime_ns()
        adapter.send(b"t1231CC\r")
        assert len(read_frames(source, 1)) == 1
        assert first_ns < source.born_ns <= second_ns
