"""Decoded messages on a console: whole below the limit, fair above it, never an old value after a newer."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from can_stream.frames.batches import SignalBatch, ValueKind
from can_stream.signals.model import SignalModel
from can_stream.signals.table import SignalTable
from stream_server.streams.console import ConsoleStream, StreamLimits
from stream_server.streams.event_ids import IdSource
from stream_server.streams.signal_sampler import ShownMessage, SignalSampler
from stream_server.streams.subject import of_dongle
from tests.helpers.signal_tables import gear_table, table_of
from tests.helpers.sse_streams import CAN0, WALL_US, Event, frames, moment, parse_events

TICK = 0.05
TABLE = table_of({f"M{number}": [SignalModel("A", 0, 8), SignalModel("B", 8, 8)] for number in range(40)})
OTHER = gear_table()


def messages(numbers: list[int], value: int = 0, table: SignalTable = TABLE) -> SignalBatch:
    """Both signals of each message, a microsecond after the one before."""
    size = 2 * len(numbers)
    return SignalBatch(
        table.hash,
        np.repeat(np.arange(len(numbers), dtype=np.int64) * 1000, 2),
        np.array([2 * number + place for number in numbers for place in (0, 1)], np.uint32),
        np.full(size, ValueKind.UNSIGNED, np.uint8),
        np.full(size, value, np.uint64),
    )


def names(shown: list[ShownMessage]) -> list[int]:
    return [one.message for one in shown]


@pytest.mark.parametrize("packet_seconds", [0.05, 0.25, 0.5])
def test_below_the_limit_every_message_is_shown_in_order_and_soon(packet_seconds: float) -> None:
    sampler = SignalSampler()
    offered: list[int] = []
    shown: list[int] = []
    for step in range(1200):
        now = step * TICK
        if step % round(packet_seconds / TICK) == 0:
            fresh = [(len(offered) + number) % 40 for number in range(int(190 * packet_seconds))]
            offered += fresh
            sampler.offer(messages(fresh), TABLE, 200, now)
        shown += names(sampler.tick(TABLE, 200, now))
        assert len(offered) - len(shown) <= 190 * packet_seconds
    assert shown == offered[: len(shown)]
    assert not sampler.merging


def test_a_rare_message_appears_every_time_and_none_starves() -> None:
    """4,000 messages/s for a minute, one of them once every five seconds."""
    sampler, dice = SignalSampler(), np.random.default_rng(1)
    counts: Counter[int] = Counter()
    last_shown = dict.fromkeys(range(39), 0.0)
    for step in range(1200):
        now = step * TICK
        fresh = dice.integers(0, 39, 200).tolist()
        if step % 100 == 50:
            fresh[7] = 39
        sampler.offer(messages(fresh, value=step), TABLE, 100, now)
        for one in sampler.tick(TABLE, 100, now):
            counts[one.message] += 1
            last_shown[one.message] = now
            assert min(one.values.bits.tolist()) >= step - 20
        if step % 100 == 50:
            assert last_shown[39] == now, "the rare message waits for the busy ones"
        if step > 40:
            assert max(now - last_shown[number] for number in range(39)) <= 1.0
    assert counts[39] == 12
    assert 0.9 * 100 * 60 <= counts.total() <= 100 * 60 + 10


def test_while_the_table_is_unknown_the_newest_values_wait_for_it() -> None:
    sampler = SignalSampler()
    for value in range(5):
        sampler.offer(messages([3, 1], value), None, 200, value * TICK)
        assert sampler.tick(None, 200, value * TICK) == []
    assert not sampler.waiting, "it would tick for nothing"
    shown = sampler.tick(TABLE, 200, 0.5)
    assert sorted(names(shown)) == [1, 3]
    assert {bits for one in shown for bits in one.values.bits.tolist()} == {4}
    sampler.offer(messages([1, 1, 2]), TABLE, 200, 0.6)
    assert names(sampler.tick(TABLE, 200, 0.6)) == [1, 1, 2]


def test_values_of_an_older_table_do_not_mix_with_those_of_the_new_one() -> None:
    sampler = SignalSampler()
    sampler.offer(messages([1, 2]), TABLE, 200, 0.0)
    sampler.offer(messages([0], table=OTHER), OTHER, 200, 0.0)
    shown = sampler.tick(OTHER, 200, 0.0)
    assert [(one.table is TABLE, one.message) for one in shown] == [(True, 1), (True, 2), (False, 0)]
    sampler.offer(messages([1, 2] * 200), TABLE, 10, 0.1)
    sampler.offer(messages([0], table=OTHER), OTHER, 10, 0.1)
    assert [one.table is OTHER for one in sampler.tick(OTHER, 10, 1.0)] == [True]


def test_a_lower_limit_counts_at_once() -> None:
    sampler = SignalSampler()
    sampler.offer(messages([1, 2, 3] * 100), TABLE, None, 0.0)
    assert names(sampler.tick(TABLE, 10, 0.0)) == [1]
    assert sampler.merging
    assert sorted(names(sampler.tick(TABLE, None, 0.05))) == [2, 3]


# --- the stream


def signal_stream(limit: int = 200, tables: list[SignalTable] | None = None) -> ConsoleStream:
    """A stream that can use `tables` as they are listed there, also later."""
    known = [TABLE] if tables is None else tables
    ids = IdSource(WALL_US)
    ids.reserved(WALL_US + 10**12)
    return ConsoleStream(
        of_dongle("van7-can0"),
        ids,
        StreamLimits(max_frames_per_second=limit),
        lambda stream: None,
        lambda table_hash: next((table for table in known if table.hash.hex() == table_hash), None),
    )


def events_of(stream: ConsoleStream) -> list[Event]:
    return parse_events(stream.read(stream.open(None, 60, moment(0.0)), 1 << 30))


def test_signals_events_do_not_touch_the_books_of_frames() -> None:
    stream = signal_stream(limit=10)
    stream.offer_body(messages(list(range(40)) * 10), CAN0, 0.0)
    stream.offer_body(frames([1, 2]), CAN0, 0.0)
    now = 0.0
    while stream.needs_ticks:
        stream.tick(moment(now))
        now += TICK
    assert now <= 4.0
    found = events_of(stream)
    assert sum(event.event == "signals" for event in found) == 40
    assert found[-1].event == "presence"
    assert (found[-1].payload["frames_received"], found[-1].payload["frames_pending"]) == (2, 0)


def test_sampling_of_messages_is_told_when_it_starts_and_stops() -> None:
    stream = signal_stream(limit=100)
    for step in range(200):
        if step < 100:
            stream.offer_body(messages(list(range(40))), CAN0, step * TICK)
        stream.tick(moment(step * TICK))
    logs = [event.payload for event in events_of(stream) if event.event == "log"]
    assert [log["details"]["active"] for log in logs] == [True, False]
    assert logs[0]["details"]["frames_in_per_second"] == pytest.approx(800, rel=0.1)
    assert "newest value" in logs[0]["message"]


def test_a_stream_without_the_table_sleeps_and_shows_all_when_it_comes() -> None:
    tables: list[SignalTable] = []
    stream = signal_stream(tables=tables)
    stream.offer_body(messages([5]), CAN0, 0.0)
    stream.tick(moment(0.0))
    assert not stream.needs_ticks
    tables.append(TABLE)
    stream.tick(moment(1.0))
    (shown,) = [event.payload for event in events_of(stream) if event.event == "signals"]
    assert shown["message"] == "M5"
    assert shown["values"] == {"A": 0, "B": 0}
