"""What a server may want in how long: little of its own, and whatever answers what it was sent."""

from __future__ import annotations

from edge_agent.uplink.patience import MOST_FRAMES, PATIENCE_SECONDS, Patience


def borne(patience: Patience, now_seconds: float, frames: int, *, answers: bool = False) -> int:
    return sum(patience.bears(now_seconds, answers=answers) for _ in range(frames))


def test_a_flood_is_borne_for_so_long_and_a_steady_server_for_ever() -> None:
    patience = Patience()
    assert borne(patience, 100.0, 10_000) == MOST_FRAMES
    step = PATIENCE_SECONDS / MOST_FRAMES
    assert all(patience.bears(101.0 + number * step, answers=False) for number in range(2_000))


def test_acks_are_earned_by_what_was_sent_and_a_clock_that_stands_still_gives_nothing() -> None:
    patience = Patience()
    patience.earned = 5_000
    assert borne(patience, 1.0, 5_000, answers=True) == 5_000
    assert borne(patience, 1.0, 5_000, answers=True) == MOST_FRAMES
    assert not patience.bears(1.0, answers=True)
    assert not patience.bears(0.5, answers=False)


def test_who_expects_more_bears_more() -> None:
    assert borne(Patience(5_000), 100.0, 10_000) == 5_000
