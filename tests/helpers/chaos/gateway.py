"""A gateway: a numbered bus, an agent, its disk and its clock, and the causes of what it may lose."""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL
from typing import Any, Final

import numpy as np

from edge_agent.errors import StatusError
from edge_agent.status.document import AgentStatus
from tests.helpers.agents import run_agent, status_of
from tests.helpers.chaos.account import Began, Causes
from tests.helpers.chaos.disks import Slot
from tests.helpers.conditions import eventually
from tests.helpers.counting_bus import CountingBus
from tests.helpers.processes import EnrolledAgent, Process, StreamServer, installed_command
from tests.helpers.wall_clock import WallClock

FRAMES_PER_SECOND: Final = 300
FLUSH_SECONDS: Final = 0.25
# Until what it has read is on disk, if it has as many turns meanwhile; and what a kill may cost on average.
_SAFE_SECONDS: Final = FLUSH_SECONDS + 0.75
_TURNS: Final = 4
_COST_SECONDS: Final = FLUSH_SECONDS + 0.5
# Everything here is waited for as long as a machine may take that has much else to do.
PATIENCE_SECONDS: Final = 300.0
KEPT: Final = "spool: keeps what waits"
_MOVED: Final = "what waits is moved there"


class Gateway:
    """An agent that reads a bus whose frames are numbered; `causes`: what may be missing of them."""

    def __init__(
        self,
        server: StreamServer,
        url: str,
        bus: CountingBus,
        name: str,
        directory: Path,
        clock: WallClock | None,
        **spool: Any,
    ) -> None:
        self.bus, self.dongle_id, self.clock = bus, f"{name}-can0", clock
        self._agent = EnrolledAgent(server, name, directory)
        self.slot = Slot(directory / f"{name}.disk")  # last of what may fail: `close` takes it away
        self.spool = self.slot.place / "spool"
        self.causes = Causes()
        self.began: list[Began] = []
        self.kills = 0
        self._url = url
        self._section: Mapping[str, Any] = {
            "directory": str(self.spool),
            "flush_seconds": FLUSH_SECONDS,
            **spool,
        }
        self._process: Process | None = None

    # -- the agent

    @property
    def process(self) -> Process:
        """The agent."""
        assert self._process is not None, "the agent was not started"
        return self._process

    def run(self) -> Process:
        """`edge-agent run`, once more."""
        program = installed_command("edge-agent")
        program = program if self.clock is None else self.clock.running(program)
        dongles = [self.bus.dongle(self.dongle_id)]
        return run_agent(self._agent, self._url, dongles, spool=self._section, program=program)

    def start(self, *, has_spool: bool = True) -> None:
        """The agent reads the bus, which is not silent any more; it has its spool, where that can be."""
        opened = self.bus.times_opened
        self._process = self.run()
        eventually(lambda: self.bus.times_opened > opened, "the bus is opened", PATIENCE_SECONDS)
        self.says_again("reading slcan", 0)
        if has_spool:
            self.says_again(KEPT, 0)
        self.began.append(Began(self.status().start_id, self.bus.sent))
        self.bus.frames_per_second = FRAMES_PER_SECOND

    def close(self) -> None:
        """The agent is killed for good."""
        try:
            if self._process is not None:
                self._process.close()
        finally:
            self.slot.close()

    def kill(self, safe: int | None = None) -> None:
        """What it read in its last moments may be gone, and then the bus is silent until it is back.

        `safe`: so many were on disk for certain, where that is less than what was sent by now.
        """
        most = None if safe is not None else round(FRAMES_PER_SECOND * _COST_SECONDS)
        safe = self._safe() if safe is None else safe
        self.process.signal(SIGKILL)
        sent = self.bus.pause()
        self.process.close()
        self.causes.add("kill", np.arange(safe, sent), most)
        self.kills += 1

    def stop(self) -> None:
        """With a goodbye, once it has read all: nothing may be missing."""
        self._read_through(self.bus.pause())
        if status := self.process.stop(PATIENCE_SECONDS):
            raise self.process.failure(f"it did not end well: {status}")
        self.process.close()

    def status(self) -> AgentStatus:
        """What this very process says."""

        def ask() -> AgentStatus | None:
            try:
                status = status_of(self._agent)
            except StatusError:
                return None
            return status if status.pid == self.process.pid else None

        found = eventually(ask, "the agent tells its status", PATIENCE_SECONDS)
        assert found is not None
        return found

    def _read_through(self, sent: int) -> None:
        first = self.began[-1].first

        def has_read_all() -> bool:
            return self.status().dongles[0].frames.taken >= sent - first

        eventually(has_read_all, "the agent has read all", PATIENCE_SECONDS)

    def _safe(self) -> int:
        """How many were sent before, and are on disk by now: the agent has read them, and has had its turn
        several times since, however busy the machine is."""
        sent = self.bus.sent
        self._read_through(sent)
        for _ in range(_TURNS):
            time.sleep(_SAFE_SECONDS / _TURNS)
            self.status()
        return sent

    def says_again(self, text: str, since: int) -> None:
        """It has said this more often than `since`."""
        eventually(lambda: self.process.errors.count(text) > since, f"{text!r} is said", PATIENCE_SECONDS)

    def said(self, text: str) -> int:
        """How often it has."""
        return self.process.errors.count(text)

    # -- its disk

    @contextmanager
    def moving(self) -> Iterator[None]:
        """What is done inside takes the file from its place; in the end all is in the one that is there."""
        said = self.said(_MOVED)
        yield
        self.says_again(_MOVED, said)

    def uncover(self) -> None:
        """What lies beneath its disk is seen and read, for once."""
        with self.moving():
            self.slot.remove()
        with self.moving():
            self.slot.insert(self.slot.card)

    @contextmanager
    def locked_spool(self) -> Iterator[None]:
        """Another process has its file."""
        other = sqlite3.connect(self.spool / "spool.sqlite3", isolation_level=None)
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
        other.close()

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """No byte more; where nothing is mounted, no file may grow."""
        if self.slot.disk is not None:
            self.slot.disk.fill()
            yield
            self.slot.disk.empty()
            return
        pid, limit = self.process.pid, resource.RLIMIT_FSIZE
        soft, hard = resource.prlimit(pid, limit)
        resource.prlimit(pid, limit, (max(path.stat().st_size for path in self.spool.iterdir()), hard))
        yield
        resource.prlimit(pid, limit, (soft, hard))
