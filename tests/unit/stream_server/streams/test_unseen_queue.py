"""What waits to be seen: oldest first, bounded by age and size."""

from __future__ import annotations

import pytest

from stream_server.streams.ring import RingLimits
from stream_server.streams.unseen import Unseen, UnseenQueue


def unseen(seconds: float, size: int = 0) -> Unseen:
    return Unseen(seconds, int(seconds * 1e6), bytes(size), 1, lambda: None)


def test_the_oldest_goes_first_and_an_empty_queue_has_none() -> None:
    queue = UnseenQueue()
    for seconds in (1.0, 2.0, 3.0):
        queue.append(unseen(seconds))
    assert queue.oldest.seconds == 1.0
    assert [queue.pop().seconds for _ in range(3)] == [1.0, 2.0, 3.0]
    assert len(queue) == 0
    with pytest.raises(IndexError):
        queue.pop()


def test_it_exceeds_a_ring_by_its_age_or_by_all_it_holds() -> None:
    queue, limits = UnseenQueue(), RingLimits(seconds=60.0, size_bytes=3000)
    assert not queue.exceeds(limits, 1e9)
    queue.append(unseen(1.0, size=1000))
    assert [queue.exceeds(limits, now) for now in (61.0, 61.1)] == [False, True]
    queue.append(unseen(50.0, size=1000))
    assert not queue.exceeds(limits, 55.0), "with what is around the packets"
    queue.append(unseen(51.0, size=1000))
    assert queue.exceeds(limits, 55.0)
    queue.pop()
    assert not queue.exceeds(limits, 55.0), "what has gone takes no room"


def test_an_event_takes_room_too() -> None:
    assert unseen(1.0).size_bytes == Unseen(1.0, 0, None, 0, lambda: None).size_bytes > 0
