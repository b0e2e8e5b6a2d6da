"""What is said of a gap."""

from __future__ import annotations

from can_stream.protocol.packets import GapReason
from stream_server.recording.gap_news import GapNews, gap_members


def test_a_gap_says_what_is_missing_and_one_that_shrank_what_was_found() -> None:
    gap = GapNews(7, GapReason.SPOOL, 30, 1_766_417_462_000_123_999, None)
    assert gap_members(gap) == {
        "gap_id": 7,
        "from": "2025-12-22T15:31:02.000123Z",
        "to": None,
        "frames": 30,
        "where": "agent_spool",
    }
    found = gap_members(gap._replace(frames=0, found_frames=30, is_new=False))
    assert (found["frames"], found["found"], found["where"]) == (0, 30, "found")
    explained = gap_members(gap._replace(frames=12, is_new=False))
    assert explained["where"] == "agent_spool", "another gap has the rest: nothing was found"
