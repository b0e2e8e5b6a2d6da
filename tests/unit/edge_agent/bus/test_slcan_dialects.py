"""Every dialect: numbered frames of known times, read in beats as the agent reads, over what starts again."""

from __future__ import annotations

import random

import numpy as np
import pytest
from msgspec import Struct

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of, concatenate
from edge_agent.bus.slcan_codec import SlcanParser
from edge_agent.bus.slcan_words import form_text
from tests.helpers.slcan_dialects import DIALECTS, STAMPS, Dialect
from tests.helpers.strategies import Row

BEGIN_NS = 1_766_417_462_000_000_000
BEAT_US = 20_000
# How long a byte takes from the adapter to the reader that waits for it.
LATENCY_US = 300
MAX_ERROR_NS = 2_000_000


class Reading(Struct):
    """What came of it. `read_ns`: when each frame was read."""

    frames: FrameBatch
    read_ns: list[int]
    malformed: int
    parser: SlcanParser


def bus_traffic(dialect: Dialect, seed: int) -> list[tuple[int, Row]]:
    """Frames with the microsecond of each: busy, sparse, and 75 s of silence."""
    dice, traffic, us = random.Random(seed), list[tuple[int, Row]](), 0
    for number in range(600):
        us += dice.randrange(300, 20_000) if number < 400 else dice.randrange(50_000, 400_000)
        us += 75_000_000 if number == 500 else 0
        extended = dialect.extended and dice.random() < 0.4
        remote, is_fd = dialect.remote and number % 50 == 20, dialect.fd and number % 3 == 0
        flags = FrameFlag.EXTENDED if extended else FrameFlag(0)
        flags |= FrameFlag.REMOTE if remote else FrameFlag.FD if is_fd else FrameFlag(0)
        flags |= FrameFlag.BRS if is_fd and not remote and number % 2 else FrameFlag(0)
        length = dice.choice((4, 12, 64)) if flags & FrameFlag.FD else dice.choice((2, 4, 8))
        data = b"" if remote else number.to_bytes(2, "big") + dice.randbytes(length - 2)
        traffic.append((us, (0, dice.randrange(1 << (29 if extended else 11)), int(flags), length, data)))
    return traffic


def played(dialect: Dialect, stamp: str, traffic: list[tuple[int, Row]], plugged_us: int) -> Reading:
    """As the agent's reader takes it: the first after silence at once, the others at the next beat."""
    parser, batches, read_ns, malformed = SlcanParser(), list[FrameBatch](), list[int](), 0
    held, due_us = dialect.greeting, traffic[0][0] + LATENCY_US
    for number, (us, row) in enumerate(traffic):
        held += dialect.line(row, us + plugged_us, number, stamp)
        next_us = traffic[number + 1][0] if number + 1 < len(traffic) else us + 10**9
        if next_us + LATENCY_US <= due_us:
            continue
        at_us = max(due_us, us + LATENCY_US)
        parsed = parser.parse(held, BEGIN_NS + at_us * 1000)
        batches.append(parsed.frames)
        read_ns += [BEGIN_NS + at_us * 1000] * len(parsed.frames)
        malformed += parsed.malformed
        held, due_us = b"", at_us + BEAT_US
    return Reading(concatenate(batches), read_ns, malformed, parser)


def check(dialect: Dialect, stamp: str, plugged_us: int, seed: int) -> None:
    traffic = bus_traffic(dialect, seed)
    found = played(dialect, stamp, traffic, plugged_us)
    own = FrameFlag.TX if dialect.before == "z" else FrameFlag(0)
    rows = batch_of((at, one, int(flags | own), size, data) for _, (at, one, flags, size, data) in traffic)
    assert found.malformed == dialect.greeting_lines
    assert FrameBatch(found.frames.timestamp_ns * 0, *columns(found.frames)).equals(rows)
    true_ns = BEGIN_NS + np.array([us for us, _ in traffic], np.int64) * 1000
    text = form_text(found.parser.stamps, found.parser.remark, asked=True)
    if stamp and STAMPS[stamp].period:
        assert "the adapter's time" in text
        assert np.abs(found.frames.timestamp_ns - true_ns).max() <= MAX_ERROR_NS
    else:
        assert "frames have the time at which they are read" in text
        later = slice(450, None)  # that numbers are no time takes a moment to find out
        assert found.frames.timestamp_ns[later].tolist() == found.read_ns[later]
    assert ("left out" in text) == bool(dialect.behind)


def columns(frames: FrameBatch) -> tuple[np.ndarray, ...]:
    return frames.arbitration_id, frames.flags, frames.length, frames.data


def test_there_are_sixty_and_each_has_a_name_of_its_own() -> None:
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS) >= 60


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_every_frame_is_read_with_its_time_or_that_is_said(dialect: Dialect) -> None:
    for stamp in {dialect.z0, dialect.z1}:
        period_us = STAMPS[stamp].period if stamp else 0
        for seed, before_us in enumerate((2_000_000, 15_000_000, 0) if period_us else (0,)):
            check(dialect, stamp, period_us - before_us if before_us else 500_000, seed)
