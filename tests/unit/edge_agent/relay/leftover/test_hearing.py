"""Frames that were left in a driver are own ones also where the file lets nobody transmit any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of
from edge_agent.host.clock import Clock
from edge_agent.relay.burst import frame_keys
from edge_agent.relay.leftover.hearing import hearing
from edge_agent.relay.record import OpenBurst
from edge_agent.relay.record_file import open_record

FRAMES = batch_of([(0, 0x100 + number, 0, 1, bytes([number])) for number in range(3)])


def told(_: str, frames: FrameBatch) -> FrameBatch:
    return frames


def own(heard: FrameBatch) -> list[bool]:
    return [bool(flags & FrameFlag.TX) for flags in heard.flags.tolist()]


def test_what_an_earlier_process_has_left_is_marked_on_its_bus_alone(tmp_path: Path) -> None:
    keys, clock = frame_keys(FRAMES), Clock()
    record = open_record(tmp_path, "a-can0", clock.boot_id(), 1_000)
    record.leave(keys[:1])
    record.open(OpenBurst("b-can0", "00" * 8, 0, 1, 1, {}, keys[1:2]))
    hear = hearing(told, tmp_path, ["a-can0", "a-can1"], clock)
    assert own(hear("a-can1", FRAMES)) == [False, False, False]
    assert own(hear("a-can0", FRAMES)) == [True, True, False]
    assert own(hear("a-can0", FRAMES)) == [False, False, False]


@pytest.mark.parametrize("content", [b"", b"x" * 10, bytes(1 << 17)])
def test_where_no_record_says_anything_frames_are_what_they_are(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "relay-a-can0.record").write_bytes(content)
    assert hearing(told, tmp_path, ["a-can0", "a-can1"], Clock()) is told


def test_a_record_of_another_boot_says_nothing(tmp_path: Path) -> None:
    open_record(tmp_path, "a-can0", "another boot", 1_000).leave(frame_keys(FRAMES))
    assert hearing(told, tmp_path, ["a-can0"], Clock()) is told
