"""Ids never seen on a bus before: which they are, at what pace they are told, and over restarts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of
from edge_agent.discovery.new_ids import TELL_SECONDS, TOLD_AT_ONCE, NewIds
from edge_agent.discovery.seen_ids import MAX_BUSES, MAX_IDS, BusId, SeenIds, decode_seen, encode_seen
from edge_agent.host.clock import Clock
from tests.helpers.conditions import Gathered

BUS = "van7-can0"


def frames(ids: Iterable[int], flags: int = 0) -> FrameBatch:
    return batch_of([(1, one, flags, 0, b"") for one in ids])


class Told(Gathered[tuple[str, BusId]]):
    """What was told; while `deaf`, nobody hears it."""

    deaf = False

    def __call__(self, dongle_id: str, bus_id: BusId) -> bool:
        if not self.deaf:
            self.append((dongle_id, bus_id))
        return not self.deaf


@asynccontextmanager
async def running(new_ids: NewIds) -> AsyncIterator[None]:
    task = asyncio.create_task(new_ids.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_each_id_is_new_once_and_both_kinds_are_apart() -> None:
    seen = SeenIds()
    assert seen.new_in(frames([0x123, 0x7FF, 0x123])) == [(0x123, False), (0x7FF, False)]
    assert seen.new_in(frames([0x123], FrameFlag.EXTENDED)) == [(0x123, True)]
    assert seen.new_in(frames([0x123, 0x7FF])) == []
    assert seen.new_in(frames([0x1FFFFFFF, 0x123, 0x200], FrameFlag.EXTENDED)) == [
        (0x200, True),
        (0x1FFFFFFF, True),
    ]
    assert seen.new_in(frames([])) == []


def test_error_frames_and_own_frames_are_no_discoveries_and_remote_ones_are() -> None:
    seen = SeenIds()
    assert seen.new_in(frames([0x20000088 & 0x1FFFFFFF], FrameFlag.ERROR)) == []
    assert seen.new_in(frames([0x123], FrameFlag.TX)) == []
    assert seen.new_in(frames([0x123], FrameFlag.REMOTE)) == [(0x123, False)]


def test_a_bus_of_random_ids_is_bounded() -> None:
    seen = SeenIds()
    new = seen.new_in(frames(range(MAX_IDS + 500), FrameFlag.EXTENDED))
    assert len(new) == MAX_IDS
    assert seen.is_full
    assert seen.new_in(frames([5])) == []
    assert len(seen.to_file().extended) == MAX_IDS


def test_the_file_keeps_buses_that_are_away_up_to_its_bound() -> None:
    here, away = SeenIds(), SeenIds()
    here.new_in(frames([1]))
    away.new_in(frames([2, 3], FrameFlag.EXTENDED))
    others = {f"old-{number}": away.to_file() for number in range(MAX_BUSES + 3)}
    kept = decode_seen(encode_seen({BUS: here}, others))
    assert len(kept) == MAX_BUSES
    assert kept[BUS].standard == [1]
    assert kept[f"old-{MAX_BUSES + 2}"].extended == [2, 3]
    assert SeenIds(kept[BUS]).new_in(frames([1, 2])) == [(2, False)]


async def test_many_at_once_are_told_at_a_pace_and_a_restart_tells_none_again(tmp_path: Path) -> None:
    path, told = tmp_path / "state" / "seen.json", Told()
    new_ids = NewIds(path, told, Clock())
    new_ids.look(BUS, frames(range(25)))
    loop = asyncio.get_running_loop()
    async with running(new_ids):
        begin = loop.time()
        await told.until(25)
        assert loop.time() - begin >= 2 * TELL_SECONDS
        new_ids.write()
    assert told == [(BUS, (number, False)) for number in range(25)]
    again = Told()
    restarted = NewIds(path, again, Clock())
    restarted.look(BUS, frames(range(26)))
    restarted.look("van7-can1", frames([3]))
    async with running(restarted):
        await again.until(2)
    assert again == [(BUS, (25, False)), ("van7-can1", (3, False))]


async def test_what_nobody_heard_waits_and_is_not_written(tmp_path: Path) -> None:
    path, told = tmp_path / "seen.json", Told()
    told.deaf = True
    new_ids = NewIds(path, told, Clock())
    new_ids.look(BUS, frames(range(TOLD_AT_ONCE + 1)))
    async with running(new_ids):
        await asyncio.sleep(2 * TELL_SECONDS)
        new_ids.write()
        assert not path.exists()
        told.deaf = False
        await told.until(TOLD_AT_ONCE + 1)
        new_ids.write()
    assert len(decode_seen(path.read_bytes())[BUS].standard) == TOLD_AT_ONCE + 1


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"buses": {"A B": {}}}', b"\0" * 100])
def test_a_broken_file_is_set_aside_and_said(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "seen.json"
    path.write_bytes(content)
    new_ids = NewIds(path, Told(), Clock())
    assert "is now seen.json.broken" in caplog.text
    assert (tmp_path / "seen.json.broken").read_bytes() == content
    new_ids.look(BUS, frames([1]))


async def test_a_place_that_takes_no_file_is_said_and_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    told = Told()
    with caplog.at_level(logging.WARNING):
        new_ids = NewIds(blocked / "seen.json", told, Clock())
        new_ids.look(BUS, frames([1]))
        async with running(new_ids):
            await told.until(1)
            new_ids.write()
    assert "cannot be written (File exists)" in caplog.text


def test_a_full_bus_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    new_ids = NewIds(None, Told(), Clock())
    for first in range(0, 2 * MAX_IDS, 512):
        new_ids.look(BUS, frames(range(first, first + 512), FrameFlag.EXTENDED))
    assert caplog.text.count("further ones are not told") == 1
