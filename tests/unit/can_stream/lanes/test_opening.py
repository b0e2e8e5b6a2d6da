"""What a hello changes: whose silence counts, which starts it makes known, and what it is answered."""

from __future__ import annotations

import time

import pytest

from can_stream.lanes.counted import Counted
from can_stream.lanes.opening import Opening, Start, named_starts, opened
from can_stream.lanes.positions import Positions
from can_stream.protocol.control import MAX_RANGES
from can_stream.protocol.lanes_control import BacklogRange, LaneHello, LedgerEntry, StartBooks
from can_stream.protocol.packets import GapReason

OLD, OTHER, OWN = "00000000000000a0", "00000000000000a1", "00000000000000a2"


def said(
    *listed: BacklogRange, starts: tuple[LedgerEntry, ...] = (), complete: bool = True, made: int | None = 0
) -> LaneHello:
    return LaneHello("can0", "frames", 1, list(listed), made, complete, list(starts))


def heard(hello: LaneHello, stored: dict[str, Start] | None = None, start_id: str = OWN) -> Opening:
    return opened(stored or {}, hello, start_id, 0.0, lambda *_: 0)


def listed(start_id: str, position: int | None, frames: int, first: int = 1, last: int = 1) -> BacklogRange:
    return BacklogRange(start_id, first, last, position, frames, None)


def waiting() -> dict[str, Start]:
    """20 frames of an old start are known of and not here."""
    return dict(heard(said(listed(OLD, 0, 20), complete=False)).starts)


@pytest.mark.parametrize(
    ("hello", "lost"),
    [
        (said(starts=(LedgerEntry(OLD, 1, 20, 0),)), 20),
        (said(starts=(LedgerEntry(OLD, 1, 20, 0),), complete=False), 0),
        (said(starts=(LedgerEntry(OTHER, 1, 20, 0),)), 0),
        (said(listed(OLD, 0, 20), starts=(LedgerEntry(OLD, 1, 20, 0),)), 0),
        (said(listed(OLD, 5, 10), starts=(LedgerEntry(OLD, 1, 20, 0),)), 10),
        (said(starts=(LedgerEntry(OLD, 1, 25, 0),)), 25),
        (said(listed(OLD, 5, 10)), 0),
        (said(), 0),
        (LaneHello("can0", "frames", 1), 0),
    ],
    ids=[
        "owner",
        "not complete",
        "another's file",
        "listed",
        "listed in part",
        "made more",
        "a copy",
        "nothing",
        "v1",
    ],
)
def test_only_the_complete_hello_of_whose_file_names_the_start_makes_a_gap(
    hello: LaneHello, lost: int
) -> None:
    opening = heard(hello, waiting())
    assert sum(gap.frames or 0 for gap in opening.gaps if gap.start_id == OLD) == lost


def test_what_is_said_of_a_start_makes_its_kind_and_that_stays() -> None:
    hello = said(listed(OLD, None, 5), starts=(LedgerEntry(OTHER, 3, 9, 9), LedgerEntry(OLD, 1, 5, 0)))
    opening = heard(hello)
    kinds = {start_id: type(start) for start_id, start in opening.starts.items()}
    assert kinds == {OTHER: Positions, OLD: Counted, OWN: Positions}
    assert isinstance(heard(LaneHello("can0", "frames", 1)).starts[OWN], Counted)
    again = heard(said(made=7), {OWN: Counted(start_id=OWN)})
    assert isinstance(again.starts[OWN], Counted), "what it said before had no positions"


def test_starts_are_in_the_agents_order_wherever_they_are_named() -> None:
    ledger = tuple(LedgerEntry(one, 1, 1, 1) for one in ("b", "c", "d", OWN))
    hello = said(listed("a", 0, 1), listed("c", 0, 1), starts=(*ledger, LedgerEntry("nothing", 0, 0, 0)))
    assert named_starts(hello, OWN) == ["b", "a", "c", "d", OWN]


def test_a_server_that_went_back_says_so_once_and_the_gap_has_that_reason() -> None:
    hello = said(starts=(LedgerEntry(OLD, 9, 100, 80),))
    opening = heard(hello)
    assert [(one.start_id, one.told_acknowledged, one.frames) for one in opening.went_back] == [(OLD, 80, 0)]
    (gap,) = opening.gaps
    assert (gap.reason, gap.frames) == (GapReason.RESTORED, 100)
    assert heard(hello, opening.starts).went_back == []


def test_the_books_are_of_each_start_that_is_named_and_add_up() -> None:
    hello = said(listed(OLD, 0, 20), starts=(LedgerEntry(OTHER, 0, 0, 0),), made=5)
    opening = heard(hello)
    assert opening.listed_frames == 20
    assert opening.books(hello, OWN) == [
        StartBooks(OLD, 0, 0, 20), StartBooks(OWN, 0, 5, 0), StartBooks(OTHER, 0, 0, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("apart", [0, 1], ids=["one stretch", "stretches apart"])
def test_the_largest_hello_takes_milliseconds(apart: int) -> None:
    ranges = [listed(OLD, 10 * i, 10 - apart, i + 1, i + 1) for i in range(MAX_RANGES)]
    hello = said(*ranges, starts=(LedgerEntry(OLD, MAX_RANGES, 10 * MAX_RANGES, 0),))
    stored = dict(heard(hello).starts)
    took = []
    for _ in range(5):
        began = time.process_time()
        opening = heard(hello, stored)
        took.append(time.process_time() - began)
    assert opening.starts[OLD].in_holes == MAX_RANGES * (10 - apart)
    assert min(took) < 0.1, "10 ms on a machine that does nothing else"
