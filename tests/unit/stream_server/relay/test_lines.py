"""The order of a source's starts, and what is handed of them."""

from __future__ import annotations

from can_stream.protocol.relay_control import Cursor, Totals
from stream_server.relay.line import Line, hole
from stream_server.relay.lines import Lines, both


def lines_of(*start_ids: str) -> Lines:
    lines = Lines()
    for start_id in start_ids:
        lines.line(start_id).put(hole(0, 4, None, in_doubt=False))
    return lines


def order(lines: Lines) -> list[str]:
    return [line.start_id for line in lines]


def test_starts_that_their_agent_does_not_name_are_older() -> None:
    lines = lines_of("a", "b", "c", "d")
    lines.put_in_order(["d", "x", "b"])
    assert order(lines) == ["a", "c", "d", "b"]


def test_what_comes_to_an_earlier_start_is_handed_next() -> None:
    lines = lines_of("a", "b")
    first = lines.to_hand()
    assert first is not None
    first.hand(4)
    assert lines.to_hand() is lines.get("b")
    first.put(hole(4, 5, None, in_doubt=False))
    lines.has_more(first)
    assert lines.to_hand() is first


def test_what_comes_when_all_was_handed_is_handed() -> None:
    lines = lines_of("a")
    line = lines.line("a")
    line.hand(4)
    assert lines.to_hand() is None
    line.put(hole(4, 5, None, in_doubt=False))
    lines.has_more(line)
    assert lines.to_hand() is line


def test_once_rewound_what_is_not_settled_is_handed_again() -> None:
    lines = lines_of("a", "b")
    for line in lines:
        line.hand(4)
    lines.line("a").settle(3)
    lines.rewind()
    assert [line.handed for line in lines] == [3, 0]
    assert lines.to_hand() is lines.get("a")
    assert lines.cursors("source") == [Cursor("source", "a", 3)]


def test_a_start_is_late_where_frames_of_a_later_one_were_handed() -> None:
    lines = lines_of("a", "b")
    assert not lines.is_late(lines.line("a"))
    lines.line("b").totals = Totals(not_sent={"too_old": 3})
    assert not lines.is_late(lines.line("a")), "counts come in any order"
    lines.line("b").totals = Totals(sent=1)
    assert lines.is_late(lines.line("a"))
    assert not lines.is_late(lines.line("b"))


def test_totals_are_added_by_reason() -> None:
    one = Totals(sent=1, not_sent={"gap": 1, "too_old": 2})
    other = Totals(accepted=3, in_doubt=4, not_sent={"gap": 5})
    assert both(one, other) == Totals(1, 3, 4, {"gap": 6, "too_old": 2})


def test_a_line_without_a_name_has_the_totals_of_those_that_are_gone() -> None:
    lines = Lines()
    lines.add(Line("", totals=Totals(sent=9)))
    assert lines.totals() == Totals(sent=9)
    assert order(lines) == []
