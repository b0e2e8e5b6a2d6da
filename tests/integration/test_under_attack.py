"""Honest agents and consoles beside everybody who takes more than their share, in one server."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.agents import registered_agents
from tests.helpers.attackers import ATTACKS
from tests.helpers.conditions import eventually
from tests.helpers.honest_fleet import HonestFleet, Noticed
from tests.helpers.memory import resident
from tests.helpers.processes import Process, StreamServer

# A minute each, and all at once: ATTACK_SECONDS=60 (`scripts/soak.py attacks`).
SECONDS: Final = float(os.environ.get("ATTACK_SECONDS", "8"))
CONSOLE_SECONDS: Final = 0.2
HEALTH_SECONDS: Final = 0.25
MOST_LOG_BYTES: Final = 1_000_000
MOST_RSS_BYTES: Final = 600_000_000
RELEASED_SECONDS: Final = 60.0
_SPARE_DESCRIPTORS: Final = 20
_SETTLING_SECONDS: Final = 3.0
_TRIES: Final = 3


@pytest.mark.timeout(600 + 12 * SECONDS)
def test_honest_ones_notice_nothing_of_the_others(tmp_path: Path) -> None:
    everybody = [[name] for name in ATTACKS]
    if SECONDS >= 60:
        everybody.append(list(ATTACKS))
    with StreamServer(tmp_path / "server") as server, HonestFleet(server, tmp_path) as fleet:
        (evil,) = registered_agents(server, ["evil"], tmp_path)
        rights = [evil.agent_id, evil.token_file.read_text().strip(), server.create_token()]
        rights.append(fleet.agents[0].dongle_id)

        def beside(names: list[str]) -> Noticed:
            with attackers(names, server, rights):
                noticed = fleet.notices(SECONDS)
            sys.stderr.write(f"--- {'+'.join(names)}: {noticed}\n")
            return noticed

        fleet.notices(_SETTLING_SECONDS)
        descriptors = _descriptors(server.process.pid)
        usual, problems = beside(["idle"]), []
        for names in everybody:
            late = beyond(beside(names), usual)
            for _ in range(_TRIES - 1):
                if not late:
                    break
                # Something else may have kept this machine busy: both once more, one right after the other.
                usual = beside(["idle"])
                late = beyond(beside(names), usual)
            problems += [f"{names}: {one}" for one in late]
        used_bytes = resident(server.process.pid).most
        sent = fleet.stop()
        viewer = server.create_token()

        def recorded() -> dict[str, int]:
            dongles = server.read_json("/api/v1/dongles", viewer)["dongles"]
            frames = {one["dongle_id"]: one["recording"]["frames"] for one in dongles}
            return {dongle_id: frames[dongle_id] for dongle_id in sent}

        eventually(lambda: recorded() == sent, "every frame of the honest ones is recorded")
        eventually(
            lambda: _descriptors(server.process.pid) <= descriptors + _SPARE_DESCRIPTORS,
            "everything is released",
            RELEASED_SECONDS,
        )
        assert not problems
        assert used_bytes <= MOST_RSS_BYTES
        assert len(server.process.errors) < MOST_LOG_BYTES
        assert "Traceback" not in server.process.errors


def beyond(noticed: Noticed, usual: Noticed) -> list[str]:
    """What honest ones notice, and should not."""
    found = []
    if noticed.console_p99 > usual.console_p99 + CONSOLE_SECONDS:
        found.append(f"consoles are late by {noticed.console_p99:.3f} s instead of {usual.console_p99:.3f} s")
    if noticed.health_failures or noticed.health_p99 > usual.health_p99 + HEALTH_SECONDS:
        found.append(f"{noticed} instead of {usual}")
    return found


@contextmanager
def attackers(names: list[str], server: StreamServer, rights: list[str]) -> Iterator[None]:
    """They attack meanwhile."""
    command = [sys.executable, "-m", "tests.helpers.attackers"]
    processes = [Process([*command, name, server.port, *rights]) for name in names]
    try:
        yield
        assert all(process.is_running for process in processes), [one.errors for one in processes]
    finally:
        for process in processes:
            process.close()


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
