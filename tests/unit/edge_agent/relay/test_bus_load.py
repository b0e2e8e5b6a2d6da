"""How long frames take a bus at their worst, and how much of its time is left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameFlag, batch_of
from edge_agent.relay.bus_load import Meter, bus_times_ns

EXT, REMOTE, FD, BRS = (
    int(flag) for flag in (FrameFlag.EXTENDED, FrameFlag.REMOTE, FrameFlag.FD, FrameFlag.BRS)
)
SECOND = 10**9


def bits(flags: int, length: int, data_bit_rate: int | None = None) -> int:
    """Microseconds at 1 Mbit/s are bits."""
    frame = batch_of([(0, 1, flags, length, bytes(0 if flags & REMOTE else min(length, 64)))])
    return int(bus_times_ns(frame, 1_000_000, data_bit_rate)[0]) // 1000


@pytest.mark.parametrize(
    ("flags", "length", "expected"),
    [
        (0, 0, 55),  # 47 and 8 stuff bits
        (0, 8, 135),  # the figure that everybody knows: 111 and 24
        (0, 15, 135),  # a raw length code: 8 bytes all the same
        (EXT, 0, 80),
        (EXT, 8, 160),
        (REMOTE, 8, 55),
        (FD, 0, 67),  # 17 + 5 of head, 27 of CRC, 13 behind it, 5 stuff bits
        (FD, 64, 712),  # 17 + 5 + 512, 32 of CRC, 13 behind it, 133 stuff bits
        (FD | EXT, 64, 736),
    ],
)
def test_bits_of_a_frame_at_its_worst(flags: int, length: int, expected: int) -> None:
    assert bits(flags, length) == expected


def test_the_data_of_a_frame_with_brs_are_faster() -> None:
    assert bits(FD | BRS, 64) == bits(FD | BRS, 64, 1_000_000) == bits(FD, 64)
    assert bits(FD | BRS, 64, 8_000_000) == 17 + 4 + 13 + (5 + 512 + 129 + 32) // 8
    assert bits(FD, 64, 8_000_000) == bits(FD, 64)


def stuffed(bits_of_frame: list[int]) -> int:
    """How many bits are stuffed: after five equal ones, those that were stuffed among them."""
    run, last, count = 0, -1, 0
    for bit in bits_of_frame:
        run, last = (run + 1, bit) if bit == last else (1, bit)
        if run == 5:
            count, run, last = count + 1, 1, 1 - bit
    return count


@given(st.binary(max_size=8), st.integers(0, 2**15 - 1), st.integers(0, 2**11 - 1))
def test_no_classic_frame_takes_longer(data: bytes, crc: int, arbitration_id: int) -> None:
    text = f"0{arbitration_id:011b}000{len(data):04b}" + "".join(f"{b:08b}" for b in data) + f"{crc:015b}"
    real = len(text) + stuffed([int(bit) for bit in text]) + 13
    assert real <= bits(0, len(data))


COST = np.full(1000, 1_000_000, np.int64)


def test_a_share_of_the_time_is_used_and_no_more() -> None:
    meter, used = Meter(), 0
    for now_ns in range(0, 10 * SECOND, SECOND // 100):
        fitting = meter.fitting(COST, 0.3, now_ns)
        meter.use(COST[:fitting])
        used += fitting
    assert 3_000 <= used <= 3_000 + 31  # what a pause has left, at the beginning


def test_after_too_much_it_says_how_long_to_wait() -> None:
    meter = Meter()
    meter.use(COST[: meter.fitting(COST, 0.5, 0)])
    meter.use(np.array([70_000_000]))  # somebody else
    assert meter.fitting(COST, 0.5, 0) == 0
    wait_ns = meter.wait_ns(0.5)
    assert 138_000_000 <= wait_ns <= 142_000_000
    assert meter.fitting(COST, 0.5, wait_ns - 1_000_000) == 0
    assert meter.fitting(COST, 0.5, wait_ns + 1) == 1
    meter.give_back(COST[:3])
    assert meter.wait_ns(0.5) == 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    meter = Meter()
    meter.use(COST[: meter.fitting(COST, 1.0, SECOND)])
    assert meter.fitting(COST, 1.0, 0) == 0
