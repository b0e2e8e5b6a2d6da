"""Whatever machines, disks, connections and the server do: no frame is lost in silence, all sums are right.

Schedules are drawn by weight, and shrunk where one breaks a rule. HYPOTHESIS_PROFILE=thorough runs twenty
times as many, from another seed each time.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from can_stream.protocol.errors import SessionError
from tests.helpers.holdings_stores import MemoryStore, SqliteStore, Store
from tests.helpers.holdings_world import ViolationError, World

THOROUGH: Final = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
TIMES: Final = 20 if THOROUGH else 1
LENGTH: Final = 70
WEIGHTS: Final = {
    "start": 9, "produce": 10, "flow": 8, "tick": 6, "sync": 2, "kill": 2, "stop": 1, "power": 1, "open": 3,
    "connect": 4, "live": 4, "back": 4, "up": 9, "down": 7, "cut": 2, "commit": 5, "skill": 1, "backup": 1,
    "restore": 0.8, "prune": 1, "lock": 1, "unlock": 1, "unmount": 0.7, "mount": 0.7, "wipe": 0.4,
    "tear": 0.4, "clone": 0.8, "second": 0.5, "swap": 0.8, "trim": 2.5,
}  # fmt: skip
Schedule = list[tuple[str, int]]
Run = Callable[[Schedule], str | None]


def schedules(count: int, seed: int) -> Iterator[Schedule]:
    """Random steps; the same for the same seed."""
    draw = random.Random(seed)
    for _ in range(count):
        names = draw.choices(list(WEIGHTS), list(WEIGHTS.values()), k=draw.randint(5, LENGTH))
        yield [("start", 0), *((name, draw.randrange(12)) for name in names)]


def broken(store: Store, schedule: Schedule, version: int) -> str | None:
    """Which rule the schedule breaks."""
    world = World(store, version)
    try:
        for name, x in schedule:
            world.act(name, x)
        world.quiesce()
    except (ViolationError, SessionError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def in_memory(version: int) -> Run:
    return lambda schedule: broken(MemoryStore(), schedule, version)


def in_sqlite(schedule: Schedule) -> str | None:
    store = SqliteStore()
    try:
        return broken(store, schedule, version=2)
    finally:
        store.close()


def shrunk(run: Run, schedule: Schedule, kind: str) -> Schedule:
    """As few steps as break the same rule."""
    size = len(schedule) // 2
    while size:
        at = 0
        while at < len(schedule):
            shorter = schedule[:at] + schedule[at + size :]
            if (run(shorter) or "").startswith(kind):
                schedule = shorter
            else:
                at += size
        size //= 2
    return schedule


@pytest.mark.parametrize(
    ("run", "count"),
    [(in_memory(2), 2000), (in_memory(1), 3000), (in_sqlite, 60)],
    ids=["positions", "counted", "sqlite"],
)
def test_every_frame_is_recorded_once_or_in_one_gap(run: Run, count: int) -> None:
    seed = random.SystemRandom().randrange(2**32) if THOROUGH else 1
    for schedule in schedules(count * TIMES, seed):
        found = run(schedule)
        if found is not None:
            kind = found.split(") ")[0]
            steps = " ".join(f"{name}{x}" for name, x in shrunk(run, schedule, kind))
            pytest.fail(f"{found}\nseed {seed}: {steps}")
