"""Frames written to an slcan adapter: what it is told, and what its answers say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of, concatenate
from edge_agent.bus.slcan import SlcanBus
from edge_agent.errors import SourceError
from edge_agent.host.clock import Clock
from edge_agent.transmit.slcan_writer import SlcanWriter
from edge_agent.transmit.writer import MAX_FRAMES
from tests.helpers.agent_parts import slcan_section
from tests.helpers.conditions import eventually
from tests.helpers.lawicel import LawicelAdapter

Plug = Callable[..., LawicelAdapter]
FRAMES = batch_of(
    [
        (0, 0x123, 0, 2, b"\xaa\xbb"),
        (0, 0x18DAF110, FrameFlag.EXTENDED, 8, bytes(range(8))),
        (0, 0x7E8, FrameFlag.REMOTE, 4, b""),
        (0, 0x1, FrameFlag.REMOTE | FrameFlag.EXTENDED, 0, b""),
        (0, 0x101, 0, 13, bytes(8)),
    ]
)
LINES = ["t1232AABB", "T18DAF11080001020304050607", "r7E84", "R000000010", "t10180000000000000000"]


class LateClock(Clock):
    """Goes so many times as slowly, for a machine may be slow too, and ahead when the test says so."""

    def __init__(self, slowness: int = 10_000) -> None:
        self.ahead_seconds = 0.0
        self._slowness = slowness
        self._begin_ns = super().monotonic_ns()

    def monotonic_ns(self) -> int:
        return (super().monotonic_ns() - self._begin_ns) // self._slowness + int(self.ahead_seconds * 1e9)


@pytest.fixture
def plug() -> Iterator[Plug]:
    with ExitStack() as plugged:
        yield lambda **wrong: plugged.enter_context(LawicelAdapter(**wrong))


def opened(adapter: LawicelAdapter, clock: Clock | None = None, *, fd: bool = False) -> SlcanBus:
    more: dict[str, Any] = {"fd": True, "data_bitrate": 2_000_000} if fd else {}
    return SlcanBus(slcan_section(adapter.path, mode="normal", **more), clock or LateClock())


def writer_of(source: SlcanBus) -> SlcanWriter:
    assert source.writer is not None
    return source.writer


def numbered(count: int, first: int = 0) -> FrameBatch:
    return batch_of([(0, number, 0, 1, bytes([number % 256])) for number in range(first, first + count)])


def read(source: SlcanBus, count: int) -> FrameBatch:
    """So many frames, own or others'."""
    batches: list[FrameBatch] = []
    for _ in range(600):
        if sum(map(len, batches)) >= count:
            break
        batches += [item for item in source.read(0.05) if isinstance(item, FrameBatch)]
    assert sum(map(len, batches)) == count
    return concatenate(batches)


def nothing_more(source: SlcanBus) -> bool:
    return not any(isinstance(item, FrameBatch) for _ in range(3) for item in source.read(0.02))


def test_every_frame_is_told_as_the_manuals_write_it_and_comes_back_once_it_is_taken(plug: Plug) -> None:
    adapter = plug()
    with closing(opened(adapter)) as source:
        writer = writer_of(source)
        assert writer.write(FRAMES) == len(FRAMES)
        back = read(source, len(FRAMES))
        assert adapter.sent == LINES
        assert back.arbitration_id.tolist() == FRAMES.arbitration_id.tolist()
        assert back.flags.tolist() == [flag | FrameFlag.TX for flag in FRAMES.flags.tolist()]
        assert back.length.tolist() == FRAMES.length.tolist()
        assert abs(int(back.timestamp_ns[0]) - Clock().wall_ns()) < 60e9
        assert (writer.confirms, writer.can_empty_queue, writer.is_empty()) == ("adapter", "probe", None)
        assert nothing_more(source)


def test_can_fd_is_told_where_the_dongle_has_it(plug: Plug) -> None:
    fd = batch_of(
        [
            (0, 0x12, FrameFlag.FD, 12, bytes(12)),
            (0, 0x13, FrameFlag.FD | FrameFlag.BRS | FrameFlag.EXTENDED, 1, b"\xff"),
        ]
    )
    adapter = plug()
    with closing(opened(adapter, fd=True)) as source:
        assert writer_of(source).write(fd) == 2
        assert read(source, 2).length.tolist() == [12, 1]
        assert adapter.sent == ["d0129" + "00" * 12, "B000000131FF"]
    other = plug()
    with closing(opened(other)) as source:
        with pytest.raises(SourceError) as caught:
            writer_of(source).write(fd)
        assert caught.value.code == "CANNOT_SEND"
        assert writer_of(source).write(FRAMES[:1]) == 1
        read(source, 1)
        assert other.sent == LINES[:1]


def test_an_adapter_that_only_listens_has_nobody_who_writes(plug: Plug) -> None:
    adapter = plug()
    with closing(SlcanBus(slcan_section(adapter.path))) as source:
        assert source.writer is None
        adapter.send(b"t0010\r")
        assert read(source, 1).arbitration_id.tolist() == [1]
    assert "L" in adapter.commands
    assert "O" not in adapter.commands


@pytest.mark.parametrize("answer", [b"\r", b"z\r", b"Z\r"])
def test_whatever_an_adapter_says_instead_of_a_refusal_means_that_it_has_taken_the_frame(
    plug: Plug, answer: bytes
) -> None:
    adapter = plug(answers={"t": answer})
    with closing(opened(adapter)) as source:
        assert writer_of(source).write(numbered(3)) == 3
        assert read(source, 3).arbitration_id.tolist() == [0, 1, 2]


def test_a_frame_that_is_refused_does_not_come_back_and_those_beside_it_do(plug: Plug) -> None:
    adapter = plug(answers={"T": b"\a"})
    with closing(opened(adapter)) as source:
        writer = writer_of(source)
        assert writer.write(FRAMES[:3]) == 3
        assert read(source, 2).arbitration_id.tolist() == [0x123, 0x7E8]
        assert (writer.refused, writer.confirms) == (1, "adapter")
        assert nothing_more(source)


def test_answers_are_counted_in_order_between_frames_and_the_status(plug: Plug) -> None:
    adapter, clock = plug(answers={"t": None, "T": None, "F": None}), LateClock()
    with closing(opened(adapter, clock)) as source:
        writer = writer_of(source)
        assert writer.write(FRAMES[:1]) == 1
        clock.ahead_seconds = 3.5
        source.read(0.0)  # asks for the status
        assert writer.write(FRAMES[1:2]) == 1
        eventually(lambda: adapter.commands[-1] == LINES[1], "all was said")
        assert nothing_more(source), "nothing of it was answered"
        assert adapter.commands[-3:] == [LINES[0], "F", LINES[1]]
        adapter.send(b"t7000\rz\rt7010\r")
        assert read(source, 3).flags.tolist() == [0, 0, FrameFlag.TX]
        adapter.send(b"F00\rZ\r")
        assert read(source, 1).arbitration_id.tolist() == [0x18DAF110]


def test_the_refusal_of_the_status_is_none_of_a_frame(plug: Plug) -> None:
    adapter, clock = plug(flags=None, answers={"t": b"z\r"}), LateClock()
    with closing(opened(adapter, clock)) as source:
        writer = writer_of(source)
        clock.ahead_seconds = 1.5
        source.read(0.0)
        assert writer.write(numbered(2)) == 2
        assert read(source, 2).arbitration_id.tolist() == [0, 1]
        assert writer.refused == 0


def test_a_status_that_is_never_answered_takes_no_answer_away_for_long(plug: Plug) -> None:
    adapter, clock = plug(answers={"F": None, "t": b"\r"}), LateClock()
    with closing(opened(adapter, clock)) as source:
        clock.ahead_seconds = 1.5
        source.read(0.0)
        eventually(lambda: "F" in adapter.commands, "the status was asked for")
        clock.ahead_seconds = 2.4
        source.read(0.0)
        clock.ahead_seconds = 3.45
        assert writer_of(source).write(numbered(2)) == 2
        assert read(source, 2).arbitration_id.tolist() == [0, 1]


def test_one_that_never_answers_confirms_nothing(plug: Plug) -> None:
    mute = plug(mute=True)
    with closing(opened(mute, Clock())) as source:  # which waits for its answers
        writer = writer_of(source)
        assert writer.confirms == "none"
        assert writer.write(FRAMES) == len(FRAMES)
        eventually(lambda: mute.sent == LINES, "it is told all the same")
        assert read(source, len(FRAMES)).flags.tolist() == [flag | FrameFlag.TX for flag in FRAMES.flags]


def test_one_that_answers_all_but_frames_confirms_nothing_until_it_does(plug: Plug) -> None:
    adapter, clock = plug(answers={"t": None}), LateClock()
    with closing(opened(adapter, clock)) as source:
        writer = writer_of(source)
        assert writer.write(numbered(1)) == 1
        said: list[str] = [writer.confirms]
        clock.ahead_seconds = 1.5
        said.append(writer.confirms)
        adapter.send(b"z\r")
        assert read(source, 1).arbitration_id.tolist() == [0]
        assert [*said, writer.confirms] == ["adapter", "none", "adapter"]


def test_one_that_answers_no_frame_is_told_more_of_them_all_the_same(plug: Plug) -> None:
    adapter, clock = plug(answers={"t": None}), LateClock()
    with closing(opened(adapter, clock)) as source:
        writer = writer_of(source)
        assert writer.write(numbered(MAX_FRAMES)) == MAX_FRAMES
        clock.ahead_seconds = 1.5
        assert writer.write(numbered(2)) == 2
        eventually(lambda: len(adapter.sent) == MAX_FRAMES + 2, "all was said")
        assert nothing_more(source)


def test_no_more_wait_for_an_answer_than_may_and_it_goes_on_in_order(plug: Plug) -> None:
    adapter = plug(answers={"t": None})
    with closing(opened(adapter)) as source:
        writer = writer_of(source)
        assert writer.write(numbered(MAX_FRAMES + 9)) == MAX_FRAMES
        assert writer.write(numbered(9, MAX_FRAMES)) == 0
        eventually(lambda: len(adapter.sent) == MAX_FRAMES, "all was said")
        adapter.send(b"z\r" * 5)
        assert read(source, 5).arbitration_id.tolist() == list(range(5))
        assert writer.write(numbered(9, MAX_FRAMES)) == 5
        adapter.send(b"z\r" * MAX_FRAMES)
        assert read(source, MAX_FRAMES).arbitration_id.tolist() == list(range(5, MAX_FRAMES + 5))


def test_what_an_adapter_says_it_has_sent_itself_is_sent_and_not_received(plug: Plug) -> None:
    adapter = plug(answers={"t": None})
    with closing(opened(adapter)) as source:
        assert writer_of(source).write(FRAMES[:1]) == 1
        adapter.send(b"t7000\rzt1232AABB\rz\rt7010\r")
        frames = read(source, 3)
        assert frames.arbitration_id.tolist() == [0x700, 0x123, 0x701]
        assert frames.flags.tolist() == [0, FrameFlag.TX, 0]
        assert nothing_more(source), "it is there once"


def test_once_its_source_is_closed_nothing_is_written(plug: Plug) -> None:
    adapter = plug()
    source = opened(adapter)
    writer = writer_of(source)
    source.close()
    with pytest.raises(SourceError) as caught:
        writer.write(FRAMES)
    assert caught.value.code == "CLOSED"
    with closing(opened(adapter)) as again:
        assert writer_of(again).write(FRAMES[:1]) == 1
        read(again, 1)
    assert adapter.sent == LINES[:1]


def test_a_port_that_is_gone_is_said(plug: Plug) -> None:
    adapter = plug()
    source = opened(adapter)
    adapter.unplug()
    with pytest.raises(SourceError) as caught:
        writer_of(source).write(FRAMES)
    assert (caught.value.code, caught.value.fault) == ("WRITE_FAILED", "unplugged")
    source.close()


def test_a_line_that_the_port_takes_in_part_is_finished_before_anything_else() -> None:
    told = bytearray()
    room = [12, 0, 3, 100, 100]

    def put(content: bytes) -> int:
        count = min(room.pop(0) if room else 0, len(content))
        told.extend(content[:count])
        return count

    writer = SlcanWriter("port", put, lambda: 0.0, fd=False)
    assert writer.write(numbered(4)) == 0, "it is not set up"
    writer.resume(is_mute=False)
    assert writer.write(numbered(4)) == 2  # of 8 bytes each
    assert writer.write(numbered(2, 2)) == 0
    assert writer.write(numbered(2, 2)) == 0
    assert told == b"t000100\rt001101"
    commands: list[str] = []
    writer.ask(commands.append)
    assert commands == ["\rF"]
    assert writer.write(numbered(2, 2)) == 2
    assert told == b"t000100\rt001101t002102\rt003103\r"


def test_a_write_does_not_wait_for_the_source_that_is_at_the_port() -> None:
    told = bytearray()

    def put(content: bytes) -> int:
        told.extend(content)
        return len(content)

    writer = SlcanWriter("port", put, lambda: 0.0, fd=False)
    writer.resume(is_mute=False)
    writer.ask(lambda _: told.extend(b"%d" % writer.write(numbered(1))))
    assert told == b"0"
    assert writer.write(numbered(1)) == 1
