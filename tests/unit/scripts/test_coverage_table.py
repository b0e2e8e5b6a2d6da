"""The table of branches taken, and the list of modules that stay below the line."""

from __future__ import annotations

import tomllib

from scripts.coverage_table import (
    Exceptions,
    Share,
    disagreements,
    list_text,
    read_list,
    share_of,
    stale,
    table,
    updated,
)

SHARES = {
    "edge_agent/agent.py": Share(1, 4),
    "edge_agent/spool/file.py": Share(9, 10),
    "edge_agent/spool/store.py": Share(8, 9),
    "edge_agent/state.py": Share(0, 0),
}


def listed(*modules: str, reason: str = "integration: real processes") -> list[Exceptions]:
    return [Exceptions(reason, list(modules))]


def test_a_module_without_branches_is_measured_by_its_lines() -> None:
    counts = {"num_branches": 4, "covered_branches": 1, "num_statements": 10, "covered_lines": 9}
    assert share_of(counts) == Share(1, 4)
    assert share_of(counts | {"num_branches": 0, "covered_branches": 0}) == Share(9, 10)


def test_every_module_is_shown_room_by_room() -> None:
    assert list(table(SHARES, {"edge_agent/agent.py"})) == [
        "edge_agent: agent 25*, state 100",
        "edge_agent/spool: file 90, store 88?",
    ]


def test_modules_well_below_the_line_are_named_unless_they_are_listed() -> None:
    assert list(disagreements(SHARES, [])) == [
        "edge_agent/agent.py: 25 % of its branches, and not in coverage.toml"
    ]
    assert not list(disagreements(SHARES, listed("edge_agent/agent.py")))


def test_a_module_stays_listed_until_it_is_well_above_the_line() -> None:
    modules = listed("one.py")
    assert stale({"one.py": Share(94, 100)}, modules) == []
    assert stale({"one.py": Share(95, 100)}, modules) == ["one.py"]
    assert not list(disagreements({"one.py": Share(95, 100)}, modules))


def test_an_entry_needs_a_module_and_a_reason() -> None:
    wrong = listed("edge_agent/gone.py") + listed(
        "edge_agent/agent.py", "edge_agent/spool/store.py", reason=""
    )
    assert list(disagreements(SHARES, wrong)) == [
        "edge_agent/gone.py: in coverage.toml, and no module of ours",
        "edge_agent/agent.py, edge_agent/spool/store.py: in coverage.toml without a reason",
    ]


def test_an_update_keeps_reasons_drops_what_is_stale_and_lists_what_is_missing() -> None:
    before = [
        *listed("edge_agent/agent.py", "edge_agent/gone.py"),
        *listed("edge_agent/state.py", reason="-"),
    ]
    after = updated(SHARES, before)
    assert after == [*listed("edge_agent/agent.py"), *listed("edge_agent/spool/store.py", reason="")]
    assert read_list(list_text(after)) == after


def test_the_list_is_written_as_toml() -> None:
    text = list_text(listed("b.py", "a.py", reason='says "no"\\'))
    assert tomllib.loads(text) == {"below": [{"reason": 'says "no"\\', "modules": ["a.py", "b.py"]}]}
