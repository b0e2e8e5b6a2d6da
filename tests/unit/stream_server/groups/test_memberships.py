"""The rules of groups: exactly two dongles, each in one group at most, ids that are ids."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from can_stream.protocol.identity import IDENTIFIER_PATTERN, is_identifier
from stream_server.errors import ApiError
from stream_server.groups.memberships import Group, Memberships, Wanted, default_group_id

IDS = st.from_regex(IDENTIFIER_PATTERN)
DONGLES = ["a", "b", "c", "d", "e"]
NAMES = ["a", "one", "a-and-b", "b-and-a", None, None]


def code_of(error: pytest.ExceptionInfo[ApiError]) -> tuple[int, str]:
    return error.value.status, error.value.code


def test_two_dongles_are_a_group_and_which_is_a_stays_so() -> None:
    known = Memberships()
    group = known.form(Wanted("bridge", "b", "a"), 7)
    assert group == Group("bridge", "b", "a", 7)
    assert (list(known), len(known), known.group("bridge")) == ([group], 1, group)
    assert known.of_dongle("a") is known.of_dongle("b") is group
    assert known.of_dongle("bridge") is None


@pytest.mark.parametrize(
    ("wanted", "code", "details"),
    [
        (Wanted("x", "c", "c"), (400, "BAD_REQUEST"), {"field": "dongle_b_id"}),
        (Wanted("bridge", "c", "d"), (409, "GROUP_EXISTS"), {"group_id": "bridge"}),
        (Wanted("x", "c", "a"), (409, "DONGLE_IN_GROUP"), {"dongle_id": "a", "group_id": "bridge"}),
        (Wanted(None, "b", "c"), (409, "DONGLE_IN_GROUP"), {"dongle_id": "b", "group_id": "bridge"}),
    ],
)
def test_what_is_refused_changes_nothing_and_names_what_is_in_the_way(
    wanted: Wanted, code: tuple[int, str], details: dict[str, Any]
) -> None:
    known = Memberships()
    group = known.form(Wanted("bridge", "a", "b"), 0)
    with pytest.raises(ApiError) as refused:
        known.form(wanted, 1)
    assert (code_of(refused), refused.value.details) == (code, details)
    assert list(known) == [group]
    assert known.of_dongle("c") is known.of_dongle("d") is None


def test_a_group_is_called_after_its_dongles_where_it_is_given_no_name() -> None:
    known = Memberships()
    assert known.form(Wanted(None, "van7-can0", "van8-can0"), 0).group_id == "van7-can0-and-van8-can0"
    known.dissolve("van7-can0-and-van8-can0")
    known.form(Wanted("van7-can0-and-van8-can0", "x", "y"), 0)
    assert known.form(Wanted(None, "van7-can0", "van8-can0"), 0).group_id == "van7-can0-and-van8-can0-2"


@given(IDS, IDS, st.integers(0, 12))
def test_a_name_that_is_made_up_is_an_id_that_is_free(a: str, b: str, rivals: int) -> None:
    taken: set[str] = set()
    for _ in range(rivals + 1):
        name = default_group_id(a, b, taken)
        assert is_identifier(name)
        assert name not in taken
        taken.add(name)


class Rules(RuleBasedStateMachine):
    """Groups that come and go, beside the plainest account of them: pairs by name."""

    @initialize()
    def begin(self) -> None:
        self.known = Memberships()
        self.pairs: dict[str, tuple[str, str]] = {}

    @rule(name=st.sampled_from(NAMES), a=st.sampled_from(DONGLES), b=st.sampled_from(DONGLES))
    def form(self, name: str | None, a: str, b: str) -> None:
        taken = {one for pair in self.pairs.values() for one in pair}
        legal = a != b and name not in self.pairs and not {a, b} & taken
        if legal:
            group = self.known.form(Wanted(name, a, b), 0)
            assert name in (None, group.group_id)
            assert group.group_id not in self.pairs
            self.pairs[group.group_id] = (a, b)
        else:
            with pytest.raises(ApiError) as refused:
                self.known.form(Wanted(name, a, b), 0)
            assert code_of(refused)[0] == (400 if a == b else 409)

    @rule(name=st.sampled_from(NAMES[:4]))
    def dissolve(self, name: str) -> None:
        if name in self.pairs:
            assert self.known.dissolve(name).dongle_ids == self.pairs.pop(name)
        else:
            with pytest.raises(ApiError) as refused:
                self.known.dissolve(name)
            assert code_of(refused) == (404, "GROUP_NOT_FOUND")

    @rule()
    def restart(self) -> None:
        self.known = Memberships(list(self.known))

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "known"):
            assert {one.group_id: one.dongle_ids for one in self.known} == self.pairs
            for dongle_id in DONGLES:
                group = self.known.of_dongle(dongle_id)
                named = [name for name, pair in self.pairs.items() if dongle_id in pair]
                assert [group.group_id] == named if group else named == []


TestRules = Rules.TestCase
