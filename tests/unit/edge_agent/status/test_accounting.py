"""The books of a dongle: sums, sentences, and what they cannot explain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.status.accounting import FRAME_HOPS, VALUE_HOPS, Ledger, grouped

TAKEN_HOPS = [hop.name for hop in FRAME_HOPS if hop.fate not in ("unread", "unusable")]


def frames(taken: int, uncounted: int = 0, **counts: int) -> Ledger:
    return Ledger("frames", FRAME_HOPS, taken, counts, uncounted)


@pytest.mark.parametrize(
    ("ledger", "sentence"),
    [
        (frames(1_234_567, acknowledged=1_234_567), "0 lost of 1 234 567 frames"),
        (
            frames(1_234_267, acknowledged=1_234_255, lost_kernel=300, lost_queue=12),
            "312 lost of 1 234 567 frames: 300 in the kernel's receive buffer, 12 in the agent's queue",
        ),
        (frames(0), "0 lost of 0 frames"),
        (
            frames(10, acknowledged=10, uncounted=1),
            "0 lost of 10 frames: once the adapter lost some and did not say how many",
        ),
        (
            frames(5, trimmed=5, uncounted=1_000),
            "5 lost of 5 frames: 5 of what waited for the server, that memory or disk could not keep, "
            "1 000 times the adapter lost some and did not say how many",
        ),
        (
            frames(0, malformed=1_105),
            "0 lost of 0 frames; 1 105 could not be read and may have been frames",
        ),
        (Ledger("values", VALUE_HOPS, 3, {"waiting": 3}), "0 lost of 3 values"),
        (
            frames(90, lost_server=30, acknowledged=60),
            "30 lost of 90 frames: 30 that the server had acknowledged and has no more: was it restored from "
            "a backup, or damaged?",
        ),
        (
            Ledger("frames", FRAME_HOPS, 9, {"acknowledged": 9}, in_doubt=2),
            "0 lost for certain of 9 frames: the server's books differ by 2: see `stream-server books`",
        ),
    ],
)
def test_the_sentence_says_how_many_and_where(ledger: Ledger, sentence: str) -> None:
    assert ledger.sentence() == sentence


def test_what_is_left_out_on_purpose_or_was_no_frame_is_not_lost() -> None:
    ledger = frames(10, left_out=4, acknowledged=6, malformed=3)
    assert (ledger.lost, ledger.total, ledger.unexplained) == (0, 10, 0)


@given(st.dictionaries(st.sampled_from([hop.name for hop in FRAME_HOPS]), st.integers(0, 1 << 40)))
def test_the_books_balance_for_whatever_became_of_the_frames(counts: dict[str, int]) -> None:
    taken = sum(counts.get(name, 0) for name in TAKEN_HOPS)
    assert frames(taken, **counts).unexplained == 0
    assert frames(taken + 7, **counts).unexplained == 7
    books = frames(taken, **counts).books()
    assert books.total == taken + counts.get("lost_driver", 0) + counts.get("lost_kernel", 0)
    assert books.lost <= books.total
    assert [hop.name for hop in FRAME_HOPS] == list(books.hops)


def test_digits_are_grouped() -> None:
    assert [grouped(n) for n in (0, 999, 1000, 10**9)] == ["0", "999", "1 000", "1 000 000 000"]
