"""When what a source gives came at the earliest: proofs that its driver was empty."""

from __future__ import annotations

from edge_agent.bus.source import FoundEmpty, LinesBorn


def test_what_is_read_came_after_the_last_look_that_found_nothing() -> None:
    found = FoundEmpty()
    found.reads()
    assert found.born_ns == 0, "nobody has looked"
    found.empty(10)
    assert found.born_ns == 0
    found.reads()
    found.empty(20)
    assert found.born_ns == 10
    found.reads()
    assert found.born_ns == 20


def test_a_line_came_as_early_as_its_first_piece() -> None:
    lines = LinesBorn()
    lines.read(10, ends_line=False, is_inside_line=True)
    assert lines.born_ns == 10
    lines.read(20, ends_line=False, is_inside_line=True)
    assert lines.born_ns == 10, "the piece goes on with the line"
    lines.read(30, ends_line=True, is_inside_line=True)
    assert lines.born_ns == 10, "it ends that line, and begins another"
    lines.read(40, ends_line=True, is_inside_line=False)
    assert lines.born_ns == 30
    lines.read(50, ends_line=True, is_inside_line=False)
    assert lines.born_ns == 50
