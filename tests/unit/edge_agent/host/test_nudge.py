"""A thread that waits is woken to try again, one that rests by haste; neither by what is for the other."""

from __future__ import annotations

import threading
import time

from edge_agent.host.nudge import Nudge

LONG_SECONDS = 60.0


class Hands:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def takes_no_time(nudge: Nudge, name: str) -> bool:
    """Whether a long wait or rest is over at once."""
    thread = threading.Thread(target=getattr(nudge, name), args=[LONG_SECONDS], daemon=True)
    thread.start()
    thread.join(5.0)
    return not thread.is_alive()


def is_waited_out(nudge: Nudge, name: str) -> bool:
    began = time.monotonic()
    getattr(nudge, name)(0.05)
    return time.monotonic() - began >= 0.05


def test_a_wait_is_ended_once_by_waking_before_or_meanwhile() -> None:
    nudge = Nudge(Hands())
    nudge.wake()
    assert takes_no_time(nudge, "wait")
    assert is_waited_out(nudge, "wait")
    timer = threading.Timer(0.05, nudge.wake)
    timer.start()
    assert takes_no_time(nudge, "wait")
    timer.join()


def test_there_is_no_rest_while_there_is_haste_which_never_ends_earlier_than_was_said() -> None:
    hands = Hands()
    nudge = Nudge(hands)
    nudge.hurry(1.0)
    nudge.hurry(0.1)
    for _ in range(3):
        hands.seconds += 0.3
        assert takes_no_time(nudge, "rest")
    hands.seconds += 0.2
    nudge.rest(0.0)  # what is left of the haste
    assert is_waited_out(nudge, "rest")


def test_haste_ends_a_rest_that_has_begun() -> None:
    nudge = Nudge(Hands())
    timer = threading.Timer(0.05, nudge.hurry, [1.0])
    timer.start()
    assert takes_no_time(nudge, "rest")
    timer.join()


def test_haste_is_no_reason_to_try_again_nor_the_other_way_round() -> None:
    nudge = Nudge(Hands())
    nudge.hurry(1.0)
    assert is_waited_out(nudge, "wait")
    nudge = Nudge(Hands())
    nudge.wake()
    assert is_waited_out(nudge, "rest")
    assert takes_no_time(nudge, "wait"), "what is for the wait was kept for it"


def test_once_stopped_nothing_is_waited_for() -> None:
    nudge = Nudge(Hands())
    nudge.stop()
    assert all(takes_no_time(nudge, name) for name in ("wait", "rest", "wait", "rest"))


def test_in_haste_a_rest_is_as_short_as_was_said_whoever_hurries() -> None:
    hands = Hands()
    nudge = Nudge(hands)
    nudge.hurry(1.0)
    began = time.monotonic()
    nudge.rest(LONG_SECONDS, 0.05)
    assert 0.05 <= time.monotonic() - began < LONG_SECONDS / 2
    nudge.stop()
    began = time.monotonic()
    nudge.rest(LONG_SECONDS, LONG_SECONDS)
    assert time.monotonic() - began < LONG_SECONDS / 2
