"""Who goes when there is no room left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_server.http.places import Places


def test_the_oldest_stranger_goes_and_whoever_is_known_stays() -> None:
    places: Places[str] = Places(3, per_credential=3, per_address=3)
    for name in ("agent", "slow", "slower"):
        assert places.take(name, 1, name, is_known=False) == []
    assert places.know("agent", "agent:van7")
    assert places.take("honest", 1, "10.0.0.1", is_known=False) == ["slow"]
    assert sorted(places) == ["agent", "honest", "slower"]


def test_who_has_asked_is_not_older_than_those_who_wait() -> None:
    places: Places[str] = Places(3, per_credential=3, per_address=3)
    for name in ("asks", "waits", "waits too"):
        places.take(name, 1, "a", is_known=False)
    places.has_come("asks")
    places.has_come("nobody")
    assert places.take("new", 1, "a", is_known=False) == ["waits"]
    assert places.take("newer", 1, "a", is_known=False) == ["waits too"]
    assert places.take("newest", 1, "a", is_known=False) == ["asks"]


def test_an_address_displaces_only_its_own_strangers() -> None:
    places: Places[int] = Places(10, per_credential=10, per_address=2)
    assert places.take(0, 1, "elsewhere", is_known=False) == []
    assert [places.take(key, 1, "crowd", is_known=False) for key in (1, 2, 3)] == [[], [], [1]]
    assert sorted(places) == [0, 2, 3]


def test_a_fleet_behind_one_address_is_as_large_as_it_is() -> None:
    places: Places[int] = Places(100, per_credential=2, per_address=2)
    for agent in range(50):
        assert places.take(agent, 1, "carrier", is_known=False) == []
        assert places.know(agent, f"agent:{agent}")
    assert len(places) == 50


def test_a_credential_has_its_share_and_the_next_one_too() -> None:
    places: Places[int] = Places(10, per_credential=2, per_address=10)
    for key in range(4):
        places.take(key, 1, "a", is_known=False)
    assert [places.know(key, "token:1") for key in (0, 1, 2)] == [True, True, False]
    assert places.know(1, "token:1")
    assert places.know(3, "token:2")


def test_no_stranger_comes_in_where_all_are_known() -> None:
    places: Places[int] = Places(2, per_credential=2, per_address=2)
    for key in range(2):
        places.take(key, 1, "a", is_known=True)
    assert places.take(2, 1, "b", is_known=False) is None
    places.give_back(0)
    assert places.take(2, 1, "b", is_known=False) == []


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 8), st.sampled_from("abc"), st.booleans())),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_never_more_is_taken_than_there_is(
    asked: list[tuple[int, int, str, bool]], most: int, share: int
) -> None:
    places: Places[int] = Places(most, per_credential=share, per_address=share)
    known: dict[int, int] = {}
    for key, much, owner, is_known in asked:
        places.give_back(key)
        known.pop(key, None)
        going = places.take(key, much, owner, is_known=is_known)
        assert going is None or is_known or not known.keys() & set(going)
        for other in going or ():
            known.pop(other, None)
        if going is not None and is_known:
            known[key] = much
        assert places.held <= most
        assert places.strangers == len(places) - len(known)
    for key in places:
        places.give_back(key)
    assert places.held == 0
