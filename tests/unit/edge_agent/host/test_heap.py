"""Where the running agent keeps its arrays: the growth itself is in tests/integration/test_footprint.py."""

from __future__ import annotations

import threading

import numpy as np
from numpy._core.multiarray import get_handler_name

from edge_agent.host.heap import use_python_blocks


def arrays_of_a_thread() -> list[np.ndarray]:
    made: list[np.ndarray] = []

    def make() -> None:
        use_python_blocks()
        made.extend(np.arange(rows, dtype=np.int64) for rows in range(3_000))
        made.append(np.zeros(2_000_000, np.uint8))
        for rows in (1, 60, 200, 5_000):
            grown = np.arange(rows)
            # Unchecked, for a tracer holds it too where coverage is measured.
            grown.resize(rows * 3, refcheck=False)
            made.append(grown)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made


def test_arrays_in_pythons_blocks_hold_what_they_are_given() -> None:
    made = arrays_of_a_thread()
    assert {get_handler_name(one) for one in made if one.base is None} == {"python_blocks"}
    for rows, one in enumerate(made[:3_000]):
        assert one.tolist() == list(range(rows))
    assert not made[3_000].any()
    for rows, one in zip((1, 60, 200, 5_000), made[3_001:], strict=True):
        assert one.tolist() == [*range(rows), *([0] * 2 * rows)]


def test_other_threads_keep_theirs_and_arrays_outlive_their_thread() -> None:
    made = arrays_of_a_thread()
    assert get_handler_name(np.zeros(5)) == "default_allocator"
    joined = np.concatenate(made[:100])
    del made
    assert int(joined.sum()) == sum(sum(range(rows)) for rows in range(100))
