"""Timestamps of drivers on the wall clock."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.bus.driver_times import NEAR_NS, TimestampMapper

SECOND = 10**9
NOW = 1_766_417_462 * SECOND


def mapped(mapper: TimestampMapper, now_ns: int, *stamps_ns: int) -> list[int]:
    return [int(stamp) for stamp in mapper.map(np.array(stamps_ns, np.int64), now_ns)]


def test_timestamps_near_the_wall_clock_stay_as_they_are() -> None:
    stamps = (NOW - 9 * SECOND, NOW - 1, NOW + 1)
    assert mapped(TimestampMapper(), NOW, *stamps) == list(stamps)


def test_a_clock_that_counts_from_power_on_is_moved_with_its_spacing_kept() -> None:
    assert mapped(TimestampMapper(), NOW, 5 * SECOND, 6 * SECOND) == [NOW - SECOND, NOW]


def test_the_quickest_frame_decides_so_that_delays_do_not_show() -> None:
    mapper = TimestampMapper()
    mapped(mapper, NOW, 0)
    late = mapped(mapper, NOW + SECOND + 80_000_000, SECOND)
    assert abs(late[0] - (NOW + SECOND)) < 1_000_000
    quick = mapped(mapper, NOW + 2 * SECOND - 3_000_000, 2 * SECOND)
    assert quick == [NOW + 2 * SECOND - 3_000_000]


def test_a_clock_that_runs_slow_is_followed() -> None:
    mapper = TimestampMapper()
    for second in range(0, 20_000, 10):
        device_ns = int(second * SECOND * (1 - 50e-6))
        (stamp,) = mapped(mapper, NOW + second * SECOND, device_ns)
    assert abs(stamp - (NOW + second * SECOND)) < 5_000_000


def test_a_wall_clock_set_forward_by_seconds_is_followed_within_a_second_or_two() -> None:
    mapper = TimestampMapper()
    for step in range(100):
        device_ns = step * SECOND // 10
        set_ns = 0 if step < 50 else 5 * SECOND
        (stamp,) = mapped(mapper, NOW + device_ns + set_ns, device_ns)
        assert abs(stamp - (NOW + device_ns + set_ns)) < 2_000_000 or 50 <= step < 60
    back = mapped(mapper, NOW + 10 * SECOND, 10 * SECOND)
    assert back == [NOW + 10 * SECOND], "backwards at once"


def test_one_delay_of_a_second_does_not_show() -> None:
    mapper = TimestampMapper()
    for second in range(0, 100, 10):
        late_ns = SECOND if second == 50 else 0
        (stamp,) = mapped(mapper, NOW + second * SECOND + late_ns, second * SECOND)
        assert abs(stamp - (NOW + second * SECOND)) < 5_000_000


def test_an_adapter_that_starts_again_is_matched_anew_also_within_a_batch() -> None:
    mapper = TimestampMapper()
    mapped(mapper, NOW, 4000 * SECOND)
    later = NOW + 2 * SECOND
    before, *after = mapped(mapper, later, 4001 * SECOND, 0, SECOND)
    assert abs(before - (NOW + SECOND)) < 1_000_000
    assert after == [later - SECOND, later]


def test_a_wall_clock_that_was_set_is_believed() -> None:
    mapper = TimestampMapper()
    assert mapped(mapper, 100 * SECOND, 5 * SECOND, 99 * SECOND)[1] == 99 * SECOND
    assert mapped(mapper, NOW, 101 * SECOND) == [NOW]
    assert mapped(mapper, NOW + SECOND, NOW + SECOND) == [NOW + SECOND]


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(-(9 * 10**18), 9 * 10**18), min_size=1, max_size=5), st.integers(0, 2**60)
        ),
        min_size=1,
        max_size=5,
    )
)
@example([([-8_070_450_532_247_928_832], 1_152_921_504_606_846_976)])
def test_the_newest_frame_of_a_read_is_never_far_from_its_arrival(
    batches: list[tuple[list[int], int]],
) -> None:
    mapper = TimestampMapper()
    for stamps, now_ns in batches:
        result = mapped(mapper, now_ns, *stamps)
        assert len(result) == len(stamps)
        assert abs(result[-1] - now_ns) <= NEAR_NS
