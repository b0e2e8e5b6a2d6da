"""Online while bytes arrive; offline 70 s after the last one or 5 s after the last close."""

from hypothesis import given
from hypothesis import strategies as st

from stream_server.fleet.presence import Presence, Transition


def stand(presence: Presence, now_seconds: float) -> list[tuple[bool, str]]:
    return [(transition.online, transition.reason) for transition in presence.due(now_seconds)]


def test_a_connection_brings_it_online_at_once() -> None:
    presence = Presence()
    presence.opened("van7", "c", 100.0, 5)
    assert presence.changes() == [Transition("van7", True, "connected", 5)]
    assert presence.due(100.0) == []
    assert presence.online_count() == 1


def test_offline_five_seconds_after_the_last_connection_closed() -> None:
    presence = Presence()
    presence.opened("van7", "control", 0.0, 1)
    presence.opened("van7", "data", 0.0, 1)
    presence.changes()
    presence.closed("van7", "control", 1.0)
    assert stand(presence, 10.0) == []
    presence.closed("van7", "data", 11.0)
    assert stand(presence, 15.9) == []
    assert stand(presence, 16.0) == [(False, "closed")]


def test_a_reconnect_within_five_seconds_is_never_noticed() -> None:
    presence = Presence()
    presence.opened("van7", "a", 0.0, 1)
    presence.changes()
    presence.closed("van7", "a", 1.0)
    presence.opened("van7", "b", 5.0, 2)
    assert stand(presence, 60.0) == []


def test_offline_seventy_seconds_after_the_last_byte_of_an_open_connection() -> None:
    presence = Presence()
    presence.opened("van7", "a", 0.0, 1)
    presence.seen("van7", 30.0, 2)
    presence.changes()
    assert stand(presence, 99.9) == []
    assert stand(presence, 100.0) == [(False, "silence")]
    assert presence.seen("van7", 101.0, 3)
    assert stand(presence, 101.0) == [(True, "connected")]


def test_rest_heartbeats_count_as_bytes() -> None:
    presence = Presence()
    assert presence.seen("van7", 0.0, 1)
    assert stand(presence, 0.0) == [(True, "heartbeat")]
    assert stand(presence, 69.0) == []
    assert stand(presence, 70.0) == [(False, "silence")]


def test_what_was_stored_is_known_and_offline() -> None:
    presence = Presence()
    presence.restore("van7", 42)
    assert presence.of("van7") == Transition("van7", False, "server_started", 42)
    assert presence.of("nobody").seen_at_ns == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["open", "close", "seen", "due"]), st.integers(0, 3), st.integers(-50, 100)
        ),
        max_size=60,
    )
)
def test_states_alternate_and_time_never_goes_back(steps: list[tuple[str, int, int]]) -> None:
    presence = Presence()
    now = 0.0
    told: list[Transition] = []
    for step, connection, seconds in steps:
        now += max(0, seconds)
        wall_ns = int((now + min(0, seconds)) * 1e9)
        match step:
            case "open":
                presence.opened("van7", connection, now, wall_ns)
            case "close":
                presence.closed("van7", connection, now)
            case "seen":
                presence.seen("van7", now, wall_ns)
        told += presence.due(now)
    assert [transition.online for transition in told] == [n % 2 == 0 for n in range(len(told))]
    assert [t.seen_at_ns for t in told] == sorted(t.seen_at_ns for t in told)
    assert all(not transition.online for transition in presence.due(now + 70.0))
    assert presence.online_count() == 0
