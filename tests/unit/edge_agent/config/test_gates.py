"""An entry of gate permits what its bounds say, and nothing that is no number."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.gates import GateEntry

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
MAYBE = st.none() | NUMBERS


@given(MAYBE, MAYBE, MAYBE, st.floats(0.001, 3600), MAYBE)
def test_an_entry_is_read_as_it_was_written_and_permits_what_lies_within(
    low: float | None, high: float | None, equal: float | None, fresh: float, value: float | None
) -> None:
    gate = GateEntry("A.B", "van7-can0", low, high, equal, fresh)
    assert msgspec.convert(msgspec.to_builtins(gate), GateEntry) == gate
    for said in (value, low, high, equal):
        if said is not None:
            bad = [low is not None and said < low, high is not None and said > high]
            bad.append(equal is not None and said != equal)
            assert gate.permits(said) is not any(bad)
    assert not gate.permits(math.nan)


@pytest.mark.parametrize(
    ("gate", "text"),
    [
        (GateEntry("A.B", min=1), "at least 1"),
        (GateEntry("A.B", min=1, max=2.5), "at least 1 and at most 2.5"),
        (GateEntry("A.B", equal=0), "equal to 0"),
    ],
)
def test_its_bounds_are_told_as_a_person_says_them(gate: GateEntry, text: str) -> None:
    assert not list(gate.problems())
    assert gate.bounds == text
