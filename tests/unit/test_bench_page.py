"""What benchmarks print gets into the page, and nothing that was written by hand leaves it."""

from __future__ import annotations

import pytest

from bench.page import report, with_block

PAGE = """# Page

Written by hand.

<!-- bench: first -->
old
<!-- end -->

Also by hand.

<!-- bench: second -->
<!-- end -->

The end.
"""


def test_a_block_is_replaced_and_all_else_stays() -> None:
    changed = with_block(PAGE, "first", "`a command`\n\nnew \\1 text\n\n")
    assert changed == PAGE.replace("\nold\n", "\n`a command`\n\nnew \\1 text\n")
    assert with_block(changed, "first", "old") == PAGE


def test_an_empty_block_is_filled_and_can_be_filled_again() -> None:
    once = with_block(PAGE, "second", "a")
    assert "<!-- bench: second -->\na\n<!-- end -->\n\nThe end." in once
    assert with_block(once, "second", "a") == once


def test_a_benchmark_that_the_page_does_not_know_gets_a_section_at_its_end() -> None:
    once = with_block(PAGE, "wire_size", "a")
    assert once == PAGE + "\n## Wire size\n\n<!-- bench: wire_size -->\na\n<!-- end -->\n"
    assert with_block(once, "wire_size", "b") == once.replace("\na\n", "\nb\n")


def test_a_block_without_an_end_is_refused_and_the_next_is_not_swallowed() -> None:
    broken = PAGE.replace("old\n<!-- end -->", "old", 1)
    with pytest.raises(ValueError, match="bench: first"):
        with_block(broken, "first", "new")


def test_rows_of_one_shape_are_a_table_and_a_shared_unit_stands_in_the_heading() -> None:
    printed = """
one 2.0 1 2
{"name": "one", "ratio": 2.04, "ours": 0.01234, "peer": 20.06, "unit": "us"}
{"name": "a|b", "ratio": 123456.7, "ours": 1, "peer": 2, "unit": "us"}
{"server": "ours", "core_percent": null, "is_all": true, "frames": 1234567}
"""
    assert (
        report(printed)
        == """\
| name | ratio | ours, us | peer, us |
| --- | --- | --- | --- |
| one | 2.04 | 0.0123 | 20.1 |
| a\\|b | 123,457 | 1 | 2 |

| server | core percent | is all | frames |
| --- | --- | --- | --- |
| ours |  | yes | 1,234,567 |"""
    )


def test_different_units_are_a_column() -> None:
    printed = '{"name": "a", "ours": 1, "unit": "us"}\n{"name": "b", "ours": 2, "unit": "ms"}'
    assert report(printed).splitlines()[0] == "| name | ours | unit |"


def test_what_is_skipped_is_said_after_the_tables() -> None:
    printed = '{"skipped": "nchan: needs its package"}\n{"name": "a"}'
    assert report(printed) == "| name |\n| --- |\n| a |\n\nNot measured: nchan: needs its package."
