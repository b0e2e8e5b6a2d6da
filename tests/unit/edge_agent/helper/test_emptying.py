"""When the helper is asked, and from when on a queue is known to be empty."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.helper.emptying import Emptying, Look

MS = 1_000_000
SECOND = 1_000 * MS
WANTED = Look(wanted=True, opening=1, is_there=True)
AGAIN = Look(wanted=True, opening=2, is_there=True)
AWAY = Look(wanted=True, opening=None, is_there=True)


def asked() -> Emptying:
    emptying = Emptying()
    assert emptying.step(WANTED, 0) == ""
    assert emptying.step(WANTED, 200 * MS) == "ask"
    return emptying


def test_it_is_empty_once_the_bus_was_opened_again_behind_the_answer() -> None:
    emptying = asked()
    assert emptying.step(AGAIN, 250 * MS) == "", "it may have been opened before the interface went down"
    emptying.answered(done=True, wait_ns=0, now_ns=300 * MS)
    assert emptying.step(WANTED, 310 * MS) == ""
    assert emptying.step(AWAY, 400 * MS) == ""
    assert emptying.step(AGAIN, 500 * MS) == "empty"
    assert emptying.step(AGAIN, 510 * MS) == ""


def test_what_empties_itself_meanwhile_needs_no_helper() -> None:
    emptying = Emptying()
    assert emptying.step(WANTED, 0) == ""
    assert emptying.step(Look(wanted=False, opening=1, is_there=True), 100 * MS) == ""
    assert emptying.step(WANTED, 250 * MS) == ""


def test_after_a_refusal_it_is_as_if_there_were_none_until_it_would_be_done() -> None:
    emptying = asked()
    assert emptying.can_empty(200 * MS, is_there=True)
    emptying.answered(done=False, wait_ns=3 * SECOND, now_ns=SECOND)
    for at_ns in range(SECOND, 4 * SECOND, 100 * MS):
        assert not emptying.can_empty(at_ns, is_there=True)
        assert emptying.step(WANTED, at_ns) == ""
    assert emptying.can_empty(4 * SECOND, is_there=True)
    assert emptying.step(WANTED, 4 * SECOND) == ""
    assert emptying.step(WANTED, 5 * SECOND) == "ask"


def test_a_bus_that_is_not_opened_again_is_given_up() -> None:
    emptying = asked()
    emptying.answered(done=True, wait_ns=0, now_ns=300 * MS)
    assert emptying.step(AWAY, 21 * SECOND) == ""
    assert not emptying.can_empty(21 * SECOND, is_there=True)
    assert emptying.step(AGAIN, 22 * SECOND) == ""


def test_without_a_helper_nobody_is_asked() -> None:
    emptying = Emptying()
    none = Look(wanted=True, opening=1, is_there=False)
    assert not emptying.can_empty(0, is_there=False)
    assert [emptying.step(none, at * SECOND) for at in range(5)] == [""] * 5


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3_000 * MS),
            st.booleans(),
            st.sampled_from([None, 1, 2, 3]),
            st.booleans(),
            st.sampled_from(["done", "refused", None]),
        ),
        max_size=60,
    )
)
def test_it_is_never_empty_without_a_going_down_that_was_done(
    steps: list[tuple[int, bool, int | None, bool, str | None]],
) -> None:
    emptying = Emptying()
    now_ns, opening_asked, is_done = 0, None, False
    for passes_ns, wanted, opening, is_there, answer in steps:
        now_ns += passes_ns
        todo = emptying.step(Look(wanted, opening, is_there), now_ns)
        if todo == "ask":
            assert wanted
            assert is_there
            opening_asked, is_done = opening, False
        elif todo == "empty":
            assert wanted
            assert is_done
            assert opening not in (None, opening_asked)
            is_done = False
        if answer is not None:
            is_done = is_done or (answer == "done" and opening_asked is not None)
            emptying.answered(done=answer == "done", wait_ns=SECOND, now_ns=now_ns)
