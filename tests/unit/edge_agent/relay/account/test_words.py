"""The closed lists of why frames wait and why they are not sent."""

from __future__ import annotations

import ast
import inspect

from can_stream.protocol.relay_control import NOT_SENT
from edge_agent.relay import sink
from edge_agent.relay.account.words import REASONS, WAITS, reason_sentence, waits_sentence


def _strings(node: ast.AST) -> list[str]:
    found = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
    return [one for one in found if isinstance(one, str) and one]


def _said(tree: ast.AST) -> set[str]:
    """What the sink puts into `waits_for`: where it is assigned, and what `_hindrance` returns."""
    said: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and "waits_for" in ast.unparse(node.targets[0]):
            said.update(_strings(node.value))
        if isinstance(node, ast.FunctionDef) and node.name == "_hindrance":
            returns = [one for one in ast.walk(node) if isinstance(one, ast.Return)]
            said.update(text for one in returns for text in _strings(one))
    return said


def test_whatever_a_sink_waits_for_is_in_the_list() -> None:
    said = _said(ast.parse(inspect.getsource(sink)))
    assert {"lease", "burst", "queue", "bus", "bus_load", "bit_rate"} <= said
    assert {one.partition(":")[0] for one in said} <= set(WAITS)


def test_every_reason_is_read_aloud_with_what_to_do() -> None:
    assert set(REASONS) == set(NOT_SENT)
    for reason in NOT_SENT:
        assert reason_sentence(reason).startswith(f"{reason}: ")
    assert reason_sentence("of_a_newer_version") == "of_a_newer_version"


def test_what_follows_a_word_is_told_too() -> None:
    assert waits_sentence("bit_rate") == f"bit_rate ({WAITS['bit_rate']})"
    assert waits_sentence("gate: SPEED is 3") == f"gate: SPEED is 3 ({WAITS['gate']})"
    assert waits_sentence("of_a_newer_version") == "of_a_newer_version (see docs/relay.md)"
