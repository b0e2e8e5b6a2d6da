"""What it takes to read a log does not grow with the log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.whole_logs import LOGS, containers

# 64 and 256: LOG_MEGABYTES=64 (`scripts/soak.py log-memory`).
MEGABYTES: Final = int(os.environ.get("LOG_MEGABYTES", "2"))
SPREAD_MEGABYTES: Final = 5
MOST_MEGABYTES: Final = 100
READ: Final = """
import os
import sys
from pathlib import Path
from can_stream.logs.log_reader import open_log
from tests.helpers.memory import resident

reader = open_log(Path(sys.argv[1]), format=sys.argv[2])
frames = sum(len(batch.frames) for batch in reader)
print(frames, resident(os.getpid()).most)
"""


def long_log(name: str, directory: Path, megabytes: int) -> tuple[Path, int]:
    """A log of that size, and how often all but its head is in it."""
    whole = LOGS[name][0](directory)
    if name == "blf":
        # How many objects there are is not said (offset 32, four bytes), as by a recorder that was killed.
        head, body = whole[:32] + bytes(4) + whole[36:144], whole[144 : containers(whole)[-1]]
    elif name == "pcap":
        head, body = whole[:24], whole[24:]
    else:
        lines = whole.splitlines(keepends=True)
        head, body = b"".join(lines[:-20]), b"".join(lines[-20:])
    times = megabytes * 1_000_000 // len(body)
    path = directory / f"{name}-{megabytes}"
    with path.open("wb") as file:
        file.write(head)
        for _ in range(times):
            file.write(body)
    return path, times


@pytest.mark.timeout(60 + 20 * MEGABYTES)
@pytest.mark.parametrize("name", LOGS)
def test_a_log_that_is_four_times_as_long_takes_as_much_memory(name: str, tmp_path: Path) -> None:
    taken = []
    for megabytes in (MEGABYTES, 4 * MEGABYTES):
        path, times = long_log(name, tmp_path, megabytes)
        done = subprocess.run(
            [sys.executable, "-c", READ, path, name], check=True, capture_output=True, text=True
        )
        frames, resident_bytes = map(int, done.stdout.split())
        assert frames > 10 * times
        taken.append(resident_bytes / 1e6)
        path.unlink()
    assert abs(taken[1] - taken[0]) < SPREAD_MEGABYTES, taken
    assert max(taken) < MOST_MEGABYTES
