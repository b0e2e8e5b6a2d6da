"""Many agents into one server: all of it recorded, at less CPU time than JSON into a row per frame."""

from __future__ import annotations

import os

import pytest

from bench.ingest import Load, compared
from tests.helpers.ratios import assert_ratio


@pytest.mark.speed
def test_ingest_loses_nothing_and_costs_less_than_json_into_a_row_per_frame() -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("needs two cores: the server has one for itself")
    # `compared` fails where a packet is not acknowledged or not in the recording.
    assert_ratio(lambda: compared([Load(200, 500, 1.0, 5.0)], Load(20, 500, 1.0, 5.0)), 2)
