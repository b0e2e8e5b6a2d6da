"""Real processes in bad times: each frame is recorded once, or in a gap that a cause explains."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.chaos import Chaos, Gateway
from tests.helpers.conditions import eventually

# An hour and five agents: CHAOS_SECONDS=3600 CHAOS_AGENTS=5. CHAOS_SEED: what happens, and in what order.
SECONDS: Final = float(os.environ.get("CHAOS_SECONDS", "35"))
AGENTS: Final = int(os.environ.get("CHAOS_AGENTS", "3"))
SEED: Final = int(os.environ.get("CHAOS_SEED", "20261129"))
_SETTLED_SECONDS: Final = 120.0  # it tries again after up to a minute


@pytest.mark.timeout(300 + 2 * int(SECONDS))
def test_whatever_happens_every_frame_is_recorded_once_or_in_a_gap_with_a_cause(tmp_path: Path) -> None:
    names = [f"van{number}" for number in range(1, AGENTS + 1)]
    with Chaos(tmp_path, names, SEED) as chaos:
        begun = time.monotonic()
        while time.monotonic() - begun < SECONDS:
            chaos.happens()
        for one in chaos.gateways:
            assert one.process.is_running
            settled(chaos, one)


def settled(chaos: Chaos, one: Gateway) -> None:
    """In the end all is explained, and stays so; frames that are fed now arrive."""
    one.bus.pause()
    one.bus.send(10)
    fed = one.bus.sent
    unexplained: list[str] = []

    def is_explained() -> bool:
        found = chaos.recording(one)
        unexplained[:] = found.unexplained(one.killed, one.restored)
        return found.numbers[-1:] == [fed - 1] and not unexplained

    try:
        eventually(is_explained, f"all of {one.dongle_id} is explained", _SETTLED_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}; {'; '.join(unexplained)}") from error
    chaos.recording(one).assert_in_order()
    if differences := chaos.differences(one):
        assert one.restored, differences
        assert all("went back to an older state" in text for text in differences), differences
