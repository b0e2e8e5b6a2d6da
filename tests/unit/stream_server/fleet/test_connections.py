"""The newest upgrade speaks for the agent; three swaps within ten minutes are two machines."""

from hypothesis import given
from hypothesis import strategies as st

from stream_server.fleet.connections import Connections


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


def test_from_the_third_swap_within_ten_minutes_on_it_is_a_duplicate_identity_and_told_once() -> None:
    connections: Connections[str] = Connections()
    connections.upgraded("van7", "control", "0", 0.0)
    swaps = [connections.upgraded("van7", "control", str(n), n * 290.0) for n in range(1, 8)]
    assert [swap.duplicate_identity for swap in swaps] == [False, False, True, True, True, True, True]
    assert [swap.is_news for swap in swaps] == [False, False, True, False, False, True, False]


def test_both_endpoints_of_a_duplicate_are_one_news() -> None:
    connections: Connections[str] = Connections()
    told = [
        connections.upgraded("van7", endpoint, str(n), float(n))
        for n in range(4)
        for endpoint in ("control", "data")
    ]
    assert [swap.duplicate_identity for swap in told] == [False] * 6 + [True] * 2
    assert sum(swap.is_news for swap in told) == 1


def test_swaps_further_apart_are_not() -> None:
    connections: Connections[str] = Connections()
    told = [connections.upgraded("van7", "control", str(n), n * 301.0).duplicate_identity for n in range(20)]
    assert not any(told)


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
