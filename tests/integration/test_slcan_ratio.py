"""The slcan source against python-can's, in CPU time of the same run, over a pseudo terminal."""

from __future__ import annotations

import pytest

from bench.slcan import measure
from tests.helpers.ratios import assert_ratio


@pytest.mark.speed
def test_a_hundred_times_python_can_on_the_same_bytes() -> None:
    assert_ratio(lambda: measure("as fast as the terminal takes them", None, runs=1), 100)
