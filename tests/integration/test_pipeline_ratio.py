"""The live pipeline against what one would write instead, on the same frames in the same run."""

from __future__ import annotations

import pytest

from bench.pipeline import DATABASE, Cost, Work, compare
from tests.helpers.ratios import assert_ratio

# Far below what docs/performance.md states, for a neighbour that takes a core is no finding.
CHEAPER_THAN_THE_PEER = 5


@pytest.mark.speed
def test_receive_to_websocket_costs_a_fraction_and_says_the_same() -> None:
    assert_ratio(compared, CHEAPER_THAN_THE_PEER)


def compared() -> Cost:
    cost = compare(Work(DATABASE, interface=None), seconds=4.0)
    assert cost.lost == cost.peer_lost == 0, cost
    assert cost.same_last_values, cost
    return cost
