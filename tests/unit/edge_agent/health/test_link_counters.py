"""Losses that two tell of are counted once, and a socket that has gone deaf is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.health.link_counters import STALL_SECONDS, Stall, TwoWitnesses, grown
from edge_agent.host.rtnetlink import InterfaceCounters
from tests.helpers.can_links import virtual_link

# -- two witnesses


@pytest.mark.parametrize(
    ("told", "new"),
    [
        ([(1, 0), (0, 1)], [1, 0]),
        ([(0, 1), (1, 0)], [1, 0]),
        ([(2, 0), (0, 5)], [2, 3]),
        ([(0, 5), (2, 0), (2, 0), (2, 0)], [5, 0, 0, 1]),
        ([(3, 3)], [3]),
        ([(0, 0)], [0]),
    ],
)
def test_what_both_tell_is_counted_once(told: list[tuple[int, int]], new: list[int]) -> None:
    witnesses = TwoWitnesses()
    assert [witnesses.tell(*one) for one in told] == new
    assert witnesses.total == sum(new)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50))))
def test_the_total_is_what_the_better_witness_has_told(told: list[tuple[int, int]]) -> None:
    witnesses = TwoWitnesses()
    news = [witnesses.tell(*one) for one in told]
    assert all(new >= 0 for new in news)
    assert witnesses.total == sum(news) == max((sum(column) for column in zip(*told, strict=True)), default=0)


# -- a stall


def test_a_socket_that_gets_what_its_interface_receives_is_well() -> None:
    stall = Stall()
    assert not any(stall.look(10 * second, 10 * second, float(second)) for second in range(100))


def test_a_silent_bus_is_no_stall() -> None:
    stall = Stall()
    assert not any(stall.look(7, 7, float(second)) for second in range(100))


def test_a_socket_that_gets_nothing_is_deaf_after_a_while_and_stays_so() -> None:
    stall = Stall()
    looks = [(10, 5, 0.0), (11, 5, 1.0), (12, 5, 1.0 + STALL_SECONDS - 0.01), (13, 5, 1.0 + STALL_SECONDS)]
    assert [stall.look(*look) for look in looks] == [False, False, False, True]
    assert stall.look(13, 5, 100.0), "it counts from the first frame that did not come"


def test_a_frame_that_comes_after_all_clears_it() -> None:
    stall = Stall()
    stall.look(10, 5, 0.0)
    stall.look(11, 5, 1.0)
    assert not stall.look(12, 6, 10.0)
    assert not stall.look(13, 6, 11.0)
    assert not stall.look(13, 6, 11.0 + STALL_SECONDS - 0.1)
    assert stall.look(13, 6, 11.0 + STALL_SECONDS)


def test_counters_that_begin_anew_are_those_of_another_interface() -> None:
    stall = Stall()
    stall.look(1000, 5, 0.0)
    stall.look(1001, 5, 1.0)
    assert not stall.look(3, 5, 10.0)
    assert not stall.look(3, 5, 20.0)


# -- growth


def counters(**values: int) -> InterfaceCounters:
    return virtual_link(values).counters


def test_each_counter_of_losses_is_told_by_how_much_it_has_grown() -> None:
    before = counters(rx_over_errors=1, rx_fifo_errors=2, rx_missed_errors=3, rx_dropped=4, rx_packets=9)
    now = counters(rx_over_errors=2, rx_fifo_errors=2, rx_missed_errors=13, rx_dropped=5, rx_packets=99)
    assert grown(before, now) == {
        "rx_over_errors": 1,
        "rx_fifo_errors": 0,
        "rx_missed_errors": 10,
        "rx_dropped": 1,
    }


def test_counters_that_begin_anew_have_not_grown() -> None:
    assert set(grown(counters(rx_over_errors=5, rx_dropped=9), counters()).values()) == {0}
