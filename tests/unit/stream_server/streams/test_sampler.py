"""The sampler: whole below the limit, fair above it, honest always."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from can_stream.frames.batches import FrameFlag
from can_stream.text.frame_json import FrameOrigin
from stream_server.streams.sampler import AT_ONCE, MAXIMUM_KEYS, Sampler, ShownFrame
from tests.helpers.sse_streams import frames

VAN = FrameOrigin("van7-can0", "can0")
RARE = 0x7E8
TICK = 0.05


def ids_of(shown: list[ShownFrame]) -> list[int]:
    return [frame.row.arbitration_id for frame in shown]


@pytest.mark.parametrize("packet_seconds", [0.05, 0.25, 0.5])
def test_below_the_limit_every_frame_is_shown_alone_in_order_and_soon(packet_seconds: float) -> None:
    sampler = Sampler(200)
    per_packet = int(190 * packet_seconds)
    offered: list[int] = []
    shown: list[ShownFrame] = []
    latest = 0.0
    for step in range(1200):
        now = step * TICK
        if step % round(packet_seconds / TICK) == 0:
            batch_ids = [(len(offered) + number) % 2048 for number in range(per_packet)]
            offered += batch_ids
            sampler.offer(frames(batch_ids), VAN, now)
            latest = now
        shown += sampler.tick(now)
        assert sampler.pending == 0 or now - latest <= packet_seconds
    assert ids_of(shown) == offered[: len(shown)]
    assert {frame.frames for frame in shown} == {1}
    assert not sampler.merging


def test_a_burst_within_the_budget_is_not_kept_waiting() -> None:
    sampler = Sampler(200)
    sampler.offer(frames(range(20)), VAN, 5.0)
    assert len(sampler.tick(5.0)) == 20


def test_above_the_limit_the_newest_frame_of_a_key_stands_for_all_of_it() -> None:
    sampler = Sampler(10)
    sampler.offer(frames([1, 2] * 50), VAN, 0.0)
    shown = sampler.tick(0.0) + sampler.tick(0.5)
    assert [(frame.row.arbitration_id, frame.frames) for frame in shown] == [(1, 50), (2, 50)]
    assert [frame.row.data for frame in shown] == [(98).to_bytes(2, "big"), (99).to_bytes(2, "big")]


def test_a_rare_id_appears_every_time_under_load_and_no_key_starves() -> None:
    """8,000 frames/s for three minutes of the bus, an id once every ten seconds among 100 others."""
    sampler = Sampler(200)
    random = np.random.default_rng(1)
    counts: Counter[int] = Counter()
    last_shown = dict.fromkeys(range(100), 0.0)
    rare = rare_shown = 0
    times: list[float] = []
    for step in range(3600):
        now = step * TICK
        ids = random.integers(0, 100, 400).tolist()
        if step % 200 == 100:
            ids[17] = RARE
            rare += 1
        sampler.offer(frames(ids), VAN, now)
        shown = sampler.tick(now)
        times += [now] * len(shown)
        for frame in shown:
            counts[frame.row.arbitration_id] += frame.frames
            last_shown[frame.row.arbitration_id] = now
        rare_shown += ids_of(shown).count(RARE)
        assert (RARE in ids) == (RARE in ids_of(shown)), "the rare id waits for the busy ones"
        if step > 40:
            assert max(now - at for key, at in last_shown.items() if key != RARE) <= 1.0
    assert rare_shown == rare == counts[RARE]
    assert counts.total() + sampler.pending == sampler.received
    seen = np.array(times)
    assert max(np.searchsorted(seen, seen + 1.0 - 1e-9) - np.arange(len(seen))) <= 200
    assert len(times) >= 0.9 * 200 * 180


@pytest.mark.parametrize("keys", [3, 150, 700])
def test_all_that_is_pending_is_out_within_a_second_of_silence(keys: int) -> None:
    sampler = Sampler(100)
    now = 0.0
    for _ in range(40):
        sampler.offer(frames(list(range(keys))), VAN, now)
        sampler.tick(now)
        now += TICK
    silent_since = now - TICK
    while sampler.pending:
        sampler.tick(now)
        now += TICK
    assert now - TICK - silent_since <= 1.0
    assert sampler.shown == 40 * keys


def test_a_silent_dongle_does_not_wait_for_a_busy_one() -> None:
    sampler = Sampler(20)
    sampler.offer(frames(range(100)), FrameOrigin("silent", "can0"), 0.0)
    shown: list[ShownFrame] = []
    for step in range(20):
        sampler.offer(frames(range(50)), FrameOrigin("busy", "can1"), step * TICK)
        shown += sampler.tick(step * TICK)
    assert sum(frame.origin.dongle_id == "silent" for frame in shown) == 100


def test_error_frames_are_never_sampled_and_cost_no_budget() -> None:
    sampler = Sampler(10)
    errors = frames([4] * 300, FrameFlag.ERROR)
    sampler.offer(frames([1] * 100), VAN, 0.0)
    sampler.offer(errors, VAN, 0.0)
    shown = sampler.tick(0.0)
    assert [frame.frames for frame in shown if frame.row.flags & FrameFlag.ERROR] == [1] * 300
    assert sum(frame.frames for frame in shown) == 400


def test_direction_extended_and_remote_are_keys_of_their_own() -> None:
    sampler = Sampler(10)
    for flags in (0, FrameFlag.EXTENDED, FrameFlag.REMOTE, FrameFlag.TX):
        sampler.offer(frames([5] * 30, flags), VAN, 0.0)
    shown: list[ShownFrame] = []
    for step in range(30):
        shown += sampler.tick(step * TICK)
    assert sorted((frame.row.flags, frame.frames) for frame in shown) == [(0, 30), (1, 30), (2, 30), (64, 30)]


def test_fuzzed_ids_are_bounded_and_none_is_lost() -> None:
    sampler = Sampler(200)
    shown: list[ShownFrame] = []
    for step in range(60):
        ids = range(step * 400, (step + 1) * 400)
        sampler.offer(frames(ids, FrameFlag.EXTENDED), VAN, step * TICK)
        shown += sampler.tick(step * TICK)
        assert sampler.pending <= MAXIMUM_KEYS
    for step in range(60, 80):
        shown += sampler.tick(step * TICK)
    assert sorted(ids_of(shown)) == list(range(24_000))


@pytest.mark.parametrize("flags", [FrameFlag.EXTENDED, FrameFlag.ERROR])
def test_a_tick_shows_some_hundred_of_a_flood_and_the_next_go_on_with_it(flags: FrameFlag) -> None:
    sampler = Sampler(200)
    sampler.offer(frames(range(8192), flags), VAN, 0.0)
    ticks: list[list[int]] = []
    while not ticks or sampler.overfull:
        ticks.append(ids_of(sampler.tick(0.0)))
    assert max(map(len, ticks)) <= AT_ONCE + 20
    assert sampler.pending <= MAXIMUM_KEYS
    waiting = ids_of(sampler.tick(1.0))
    assert sorted([*itertools.chain(*ticks), *waiting]) == list(range(8192))


def test_without_a_limit_every_frame_is_shown() -> None:
    sampler = Sampler(None)
    sampler.offer(frames([3] * 5000), VAN, 0.0)
    assert [frame.frames for frame in sampler.tick(0.0)] == [1] * AT_ONCE
    shown = AT_ONCE
    while sampler.overfull:
        shown += len(sampler.tick(0.0))
    assert (shown, sampler.pending) == (5000, 0)


def test_the_limit_can_change_at_any_time() -> None:
    sampler = Sampler(200)
    sampler.offer(frames([3] * 100), VAN, 0.0)
    sampler.max_frames_per_second = 10
    assert [frame.frames for frame in sampler.tick(0.0)] == [100]
    sampler.offer(frames([3] * 100), VAN, 0.1)
    sampler.max_frames_per_second = None
    assert sum(frame.frames for frame in sampler.tick(0.1)) == 100
    sampler.offer(frames([3] * 100), VAN, 0.2)
    assert len(sampler.tick(0.2)) == 100


@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_below_one_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Sampler(value)
