"""The frames in a driver, and what is read back of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of, concatenate, empty_batch
from edge_agent.relay.burst import Burst, Cut, frame_keys
from tests.helpers.strategies import frame_batches

EXT, REMOTE, FD, BRS, ESI, TX = (
    int(getattr(FrameFlag, name)) for name in ("EXTENDED", "REMOTE", "FD", "BRS", "ESI", "TX")
)


def key(arbitration_id: int, flags: int = 0, length: int = 2, data: bytes = b"\1\0") -> bytes:
    return frame_keys(batch_of([(7, arbitration_id, flags, length, data)]))[0]


def burst(*ids: int) -> Burst:
    frames = batch_of([(0, one, 0, 1, b"\1") for one in ids])
    positions = [10 + 2 * row for row in range(len(ids))]
    refused = [(11, "never"), (13, "never"), (15, "superseded")]
    cut = Cut(frames, positions, [100] * len(ids), 20, refused)  # type: ignore[arg-type]
    return Burst("van-can0", "00" * 8, cut, "bus", 5_000)


def test_what_differs_on_a_bus_differs_and_what_a_driver_may_change_does_not() -> None:
    keys = [key(1), key(2), key(1, EXT), key(1, REMOTE), key(1, FD), key(1, FD | BRS), key(1, length=1)]
    keys += [key(1, data=b"\1\1"), key(1, length=3, data=b"\1\0\0")]
    assert len(set(keys)) == len(keys)
    assert key(1, TX) == key(1)
    assert key(1, FD | ESI) == key(1, FD)
    assert key(1, 0, 12, bytes(8)) == key(1, 0, 8, bytes(8))
    assert frame_keys(empty_batch()) == []


@given(frame_batches(), frame_batches())
def test_an_echo_is_known_again_whatever_it_comes_with(frames: FrameBatch, others: FrameBatch) -> None:
    echo = FrameBatch(
        frames.timestamp_ns + 1,
        frames.arbitration_id,
        frames.flags | np.uint8(TX),
        frames.length,
        frames.data,
    )
    assert frame_keys(concatenate([others, echo]))[len(others) :] == frame_keys(frames)


def test_echoes_are_matched_in_order_each_once() -> None:
    one = burst(1, 2, 1)
    echo = frame_keys(one.frames)
    assert [one.echo(echo[0]), one.echo(echo[0]), one.echo(echo[0])] == [0, 2, None]
    assert one.awaited() == [echo[1]]


def test_what_the_driver_did_not_take_is_none_of_it() -> None:
    one = burst(1, 2, 3)
    assert (one.opened().frames, one.opened().through) == (3, 20)
    assert one.refused() == {"never": 2, "superseded": 1}
    one.keep(2)
    opened = one.opened()
    assert (opened.first, opened.through, opened.frames) == (10, 14, 2)
    assert opened.refused == {"never": 2}
    assert len(one.awaited()) == 2


def test_what_became_of_each_id_is_known_of_what_the_driver_took_alone() -> None:
    frames = batch_of([(0, one, 0, 1, b"\1") for one in (1, 2, 3)])
    cut = Cut(frames, [10, 12, 14], [100] * 3, 20, [(11, "never"), (15, "never")], None, [8, 9])
    one = Burst("van-can0", "00" * 8, cut, "queue", 5_000)
    one.keep(2)
    assert one.fates("accepted", doubt=False) == [(1, "accepted"), (2, "accepted"), (8, "never")]
