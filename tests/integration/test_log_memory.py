"""What it takes to read a log does not grow with the log."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import can
import numpy as np
import pytest

from tests.helpers.whole_logs import LOGS, containers

# 64 and 256: LOG_MEGABYTES=64 (`scripts/soak.py log-memory`).
MEGABYTES: Final = int(os.environ.get("LOG_MEGABYTES", "2"))
SPREAD_MEGABYTES: Final = 5
READ: Final = """
import os
import resource
import sys
from pathlib import Path
from can_stream.logs.log_reader import open_log
from tests.helpers.memory import resident

reader = open_log(Path(sys.argv[1]), format=sys.argv[2])
frames = sum(len(batch.frames) for batch in reader)
children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(frames, resident(os.getpid()).most + children)
"""


def long_mf4(path: Path, megabytes: int, *, is_finished: bool) -> int:
    """A log at `path` of that size, of two groups of frames, data and errors; how many there are."""
    import asammdf  # type: ignore[import-not-found, unused-ignore]  # an extra

    log = asammdf.MDF(version="4.10")
    mf4: Any = can.io.mf4
    bus = mf4.SourceInformation(source_type=mf4.SOURCE_BUS, bus_type=mf4.BUS_TYPE_CAN)
    counts = []
    for name, dtype, part in (("CAN_DataFrame", mf4.STD_DTYPE, 0.9), ("CAN_ErrorFrame", mf4.ERR_DTYPE, 0.1)):
        counts.append(int(part * megabytes * 1_000_000 / (dtype.itemsize + 8)))
        frames = np.zeros(counts[-1], dtype)
        frames[f"{name}.ID"] = np.arange(counts[-1]) % 0x700
        frames[f"{name}.DataLength"] = frames[f"{name}.DLC"] = 8
        times = np.arange(counts[-1]) / counts[-1]
        log.append(asammdf.Signal(name=name, samples=frames, timestamps=times, source=bus))
    log.save(path, overwrite=True)
    log.close()
    if not is_finished:
        with path.open("r+b") as file:
            file.write(b"UnFinMF ")
            file.seek(60)  # id_unfin_flags: how many records there are, and the last block's size
            file.write(b"\5\0")
    return sum(counts)


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


def assert_memory_does_not_grow(name: str, logs: Iterable[tuple[Path, int]], most_megabytes: int) -> None:
    """`logs`: logs of the format `name`, and how many frames are in each at least."""
    taken = []
    for path, least in logs:
        done = subprocess.run(
            [sys.executable, "-c", READ, path, name], check=True, capture_output=True, text=True
        )
        frames, resident_bytes = map(int, done.stdout.split())
        assert frames >= least
        taken.append(resident_bytes / 1e6)
        path.unlink()
    assert max(taken) - min(taken) < SPREAD_MEGABYTES, taken
    assert max(taken) < most_megabytes, taken


@pytest.mark.timeout(60 + 20 * MEGABYTES)
@pytest.mark.parametrize("name", LOGS)
def test_a_log_that_is_four_times_as_long_takes_as_much_memory(name: str, tmp_path: Path) -> None:
    logs = (long_log(name, tmp_path, megabytes) for megabytes in (MEGABYTES, 4 * MEGABYTES))
    assert_memory_does_not_grow(name, ((path, 10 * times) for path, times in logs), 100)


@pytest.mark.timeout(120 + 20 * MEGABYTES)
@pytest.mark.skipif(importlib.util.find_spec("asammdf") is None, reason="needs pip install 'python-can[mf4]'")
@pytest.mark.parametrize("is_finished", [True, False])
def test_an_mf4_takes_as_much_memory_in_both_processes(is_finished: bool, tmp_path: Path) -> None:
    path = tmp_path / "long.mf4"
    # It is read in pieces of 4 MB.
    shorter = max(MEGABYTES, 8)
    sizes = (shorter, 4 * shorter)
    logs = ((path, long_mf4(path, megabytes, is_finished=is_finished)) for megabytes in sizes)
    assert_memory_does_not_grow("mf4", logs, 350)
