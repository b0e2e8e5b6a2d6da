"""Real processes in bad times: each frame is recorded once, or in a gap that a cause explains."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from tests.helpers.chaos.account import Account
from tests.helpers.chaos.gateway import FRAMES_PER_SECOND, Gateway
from tests.helpers.chaos.schedule import Chaos
from tests.helpers.conditions import eventually
from tests.helpers.lanes import require_lane
from tests.helpers.wall_clock import HAS_WALL_CLOCKS, HINT

# An hour: CHAOS_SECONDS=3600. CHAOS_SEED: what happens, and in what order.
SECONDS: Final = float(os.environ.get("CHAOS_SECONDS", "180"))
AGENTS: Final = int(os.environ.get("CHAOS_AGENTS", "5"))
SEED: Final = int(os.environ.get("CHAOS_SEED", "20261129"))
# An agent tries again after up to a minute, and then sends what it could not for as long as the test lasts.
_SETTLED_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 1.0  # each look reads the whole recording
# What is wrong is found soon after it went wrong.
_PERIOD_SECONDS: Final = 600.0


@pytest.mark.timeout(3600 + 3 * int(SECONDS))
def test_whatever_happens_every_frame_is_recorded_once_or_in_a_gap_with_a_cause(tmp_path: Path) -> None:
    require_lane("integration", HAS_WALL_CLOCKS, HINT)
    names = [f"van{number}" for number in range(1, AGENTS + 1)]
    with Chaos(tmp_path, names, SEED) as chaos:
        begun = time.monotonic()
        for end_seconds in [*np.arange(_PERIOD_SECONDS, SECONDS, _PERIOD_SECONDS), SECONDS]:
            while time.monotonic() - begun < end_seconds:
                chaos.happens()
            for one in chaos.gateways:
                settled(chaos, one)


def settled(chaos: Chaos, one: Gateway) -> None:
    """All is explained by now; frames that are fed now arrive."""
    assert one.process.is_running
    one.uncover()
    one.bus.pause()
    one.bus.send(10)
    found = Account(0)

    def is_explained() -> bool:
        nonlocal found
        time.sleep(_LOOK_SECONDS)
        found = chaos.account(one)
        return found.has_last and not found.problems

    try:
        eventually(is_explained, f"all of {one.dongle_id} is explained", _SETTLED_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}; {found}; {'; '.join(found.problems)}") from error
    sys.stderr.write(f"--- {one.dongle_id}: {found}; {one.kills} kills\n")
    if differences := chaos.differences(one):
        assert one.causes.most.get("restore"), differences
        assert all("went back to an older state" in text for text in differences), differences
    one.bus.frames_per_second = FRAMES_PER_SECOND
