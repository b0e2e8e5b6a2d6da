"""The newest upgrade speaks for the agent; starts that take turns within ten minutes are two machines."""

from hypothesis import given
from hypothesis import strategies as st

from stream_server.fleet.connections import Connections, Swap


def test_the_newest_wins_and_the_older_leaving_changes_nothing() -> None:
    connections: Connections[str] = Connections()
    assert connections.upgraded("van7", "control", "old", 0.0).replaced is None
    assert connections.upgraded("van7", "control", "new", 1.0).replaced == "old"
    assert not connections.is_current("van7", "control", "old")
    connections.gone("van7", "control", "old")
    assert connections.is_current("van7", "control", "new")
    connections.gone("van7", "control", "new")
    assert connections.current("van7", "control") is None
    assert len(connections) == 0


def test_endpoints_and_agents_do_not_replace_each_other() -> None:
    connections: Connections[str] = Connections()
    connections.upgraded("van7", "control", "a", 0.0)
    assert connections.upgraded("van7", "data", "b", 0.0).replaced is None
    assert connections.upgraded("van8", "control", "c", 0.0).replaced is None
    assert sorted(connections.of_agent("van7")) == ["a", "b"]
    assert len(connections) == 3


def swaps(starts: str, step_seconds: float) -> list[Swap[str]]:
    """Connections of these starts (one letter each), the next while the one before it is still open."""
    connections: Connections[str] = Connections()
    told = []
    for n, start_id in enumerate(starts):
        told.append(connections.upgraded("van7", "control", f"{n}", n * step_seconds))
        connections.greeted(f"{n}", start_id)
        if told[-1].replaced is not None:
            connections.gone("van7", "control", told[-1].replaced)
    return told[1:]


def test_two_starts_that_take_turns_are_a_duplicate_identity_from_the_third_swap_on_and_told_once() -> None:
    told = swaps("ABABABAB", 290.0)
    assert [swap.duplicate_identity for swap in told] == [False, False, True, True, True, True, True]
    assert [swap.is_news for swap in told] == [False, False, True, False, False, True, False]


def test_one_machine_on_a_bad_link_that_displaces_itself_is_none() -> None:
    assert not any(swap.duplicate_identity for swap in swaps("A" * 40, 1.0))


def test_an_agent_that_is_started_again_and_again_is_none() -> None:
    assert not any(swap.duplicate_identity for swap in swaps("AABCCCDEFGHHI", 1.0))


def test_two_machines_on_bad_links_are_one_all_the_same() -> None:
    told = swaps("AAAABBBAAB", 1.0)
    assert [swap.duplicate_identity for swap in told] == [False] * 7 + [True] * 2


def test_who_never_says_hello_is_no_machine() -> None:
    connections: Connections[int] = Connections()
    for n in range(20):
        assert not connections.upgraded("van7", "control", n, float(n)).duplicate_identity
        if n % 3 == 0:
            connections.greeted(n, "A")


def test_both_endpoints_of_a_duplicate_are_one_news() -> None:
    connections: Connections[str] = Connections()
    told = []
    for n in range(4):
        for endpoint in ("control", "data"):
            told.append(connections.upgraded("van7", endpoint, f"{n} {endpoint}", float(n)))
            connections.greeted(f"{n} {endpoint}", "AB"[n % 2])
    assert [swap.duplicate_identity for swap in told] == [False] * 6 + [True] * 2
    assert sum(swap.is_news for swap in told) == 1


def test_swaps_further_apart_are_not() -> None:
    assert not any(swap.duplicate_identity for swap in swaps("AB" * 10, 301.0))


def test_a_clean_reconnect_is_no_swap() -> None:
    connections: Connections[str] = Connections()
    for n in range(10):
        swap = connections.upgraded("van7", "control", str(n), float(n))
        assert swap.replaced is None
        assert not swap.duplicate_identity
        connections.gone("van7", "control", str(n))


@given(st.lists(st.tuples(st.sampled_from(["up", "gone"]), st.integers(0, 5)), max_size=40))
def test_only_the_last_upgraded_is_ever_current(steps: list[tuple[str, int]]) -> None:
    connections: Connections[int] = Connections()
    expected: int | None = None
    for step, connection in steps:
        if step == "up":
            connections.upgraded("van7", "control", connection, 0.0)
            expected = connection
        else:
            connections.gone("van7", "control", connection)
            expected = None if expected == connection else expected
        assert connections.current("van7", "control") == expected
