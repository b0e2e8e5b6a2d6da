"""What benchmarks share."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pytest

from bench import page
from bench.report import Comparison, compare, in_turn, show, show_skipped


def test_a_comparison_is_of_medians_and_its_ratio_that_of_pairs() -> None:
    found = compare("a", "us", [(1.0, 2.0), (2.0, 8.0), (4.0, 12.0)], per=2.0)
    assert found == Comparison("a", 3.0, 1.0, 4.0, "us")


def test_measurements_take_turns() -> None:
    calls: list[str] = []

    def call(name: str) -> str:
        calls.append(name)
        return name

    assert in_turn(2, lambda: call("ours"), lambda: call("peer")) == [("ours", "peer")] * 2
    assert calls == ["ours", "peer", "ours", "peer"]


@dataclass(frozen=True)
class Counted(Comparison):
    frames: int


def test_what_is_shown_is_what_the_page_reads(capsys: pytest.CaptureFixture[str]) -> None:
    found = Comparison("a", 3.0, 1.0, 4.0, "us")
    show(Counted(**asdict(found), frames=5))
    show_skipped("b: needs c")
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == "a 3.0 1.000 4.000"
    assert page.report(printed).splitlines()[0] == "| name | ratio | ours, us | peer, us | frames |"
    assert page.report(printed).endswith("Not measured: b: needs c.")
