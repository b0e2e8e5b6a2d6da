"""The plug of a whole gateway is pulled again and again: what it had synced to its disk arrives, once."""

from __future__ import annotations

import io
import os
import random
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.lanes import require_lane
from tests.vm.boot import add_disk, build_hint, guest_directory, is_built, run_in_guest

require_lane("vm", is_built(), build_hint())

# Twenty take five minutes: POWER_CUTS=20.
CUTS: Final = int(os.environ.get("POWER_CUTS", "3"))
# Of the configuration's default, and a second for a busy machine.
MOST_LOST_SECONDS: Final = 2.0 + 1.0
_BOOT_SECONDS: Final = 240.0
_JOB: Final = "python -m tests.vm.power_cut"


def history(path: Path) -> list[tuple[float, int]]:
    """(time, frames sent until then); the last line may be cut."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(float(line.split()[0]), int(line.split()[1])) for line in lines]


@pytest.mark.timeout((CUTS + 2) * _BOOT_SECONDS)
def test_what_a_gateway_had_on_its_disk_arrives_once_after_power_cuts() -> None:
    chance = random.Random(20261121)
    with guest_directory() as directory:
        add_disk(directory, 64)
        exchange = directory / "exchange"
        for boot in range(CUTS):
            sent = exchange / f"sent.{boot}"
            wanted_seconds = chance.uniform(3.0, 6.0)

            def long_enough(sent: Path = sent, wanted_seconds: float = wanted_seconds) -> bool:
                times = history(sent)
                return bool(times) and times[-1][0] - times[0][0] > wanted_seconds

            output = io.StringIO()
            run = run_in_guest(
                directory,
                f"{_JOB} stream {boot}",
                output,
                timeout_seconds=_BOOT_SECONDS,
                cut_power=long_enough,
            )
            assert long_enough(), f"{run.problem}\n{output.getvalue()}"
        output = io.StringIO()
        run = run_in_guest(directory, f"{_JOB} recover", output, timeout_seconds=_BOOT_SECONDS)
        assert run.status == 0, f"{run.problem}\n{output.getvalue()}"
        recorded = [
            bytes.fromhex(line.partition("#")[2])
            for line in (exchange / "recorded").read_text().split()[2::3]
        ]
        sent_until = [history(exchange / f"sent.{boot}") for boot in range(CUTS)]
    numbers = [(int.from_bytes(data[:2], "big"), int.from_bytes(data[4:8], "big")) for data in recorded]
    for before, after in pairwise(numbers):
        assert after in ((before[0], before[1] + 1), (before[0] + 1, 0))
    for boot, times in enumerate(sent_until):
        last_seconds, _ = times[-1]
        due = max(
            (count for at_seconds, count in times if at_seconds <= last_seconds - MOST_LOST_SECONDS),
            default=0,
        )
        arrived = sum(1 for one, _ in numbers if one == boot)
        assert arrived >= due > 0, f"boot {boot}: {arrived} of at least {due} frames arrived"
