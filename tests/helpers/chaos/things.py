"""The bad things that happen to gateways and their server: each leaves all as it was, but for its costs."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

import numpy as np

from tests.helpers.chaos.account import in_gaps
from tests.helpers.chaos.disks import SmallDisk
from tests.helpers.chaos.gateway import KEPT, PATIENCE_SECONDS, Gateway
from tests.helpers.chaos.recorded import numbers_of, packets_of, recorded_starts
from tests.helpers.conditions import eventually
from tests.helpers.cutting_proxy import CuttingProxy
from tests.helpers.processes import StreamServer
from tests.helpers.wall_clock import WallClock

_FAILED: Final = "meanwhile packets wait in memory alone"
_DAY: Final = 86_400
# Of a machine without a battery, of a wrong time zone, of a server that smears, of a typing error.
_AHEAD_SECONDS: Final = (-(1 << 30), -3 * _DAY, -3_600, -2, 0, 0, 2, 3_600, 3 * _DAY, 400 * _DAY, 1 << 31)
SMALL_SPOOL_BYTES: Final = 1_000_000
_SMALL_SPOOL_FRAMES: Final = 10_000  # so many there is room for at least
_BURST: Final = 10_000


class Things:
    """To `gateways` and `server`, which they reach by `proxy`; the second gateway's spool is small."""

    server: StreamServer
    proxy: CuttingProxy
    _server_clock: WallClock | None
    _server_disk: SmallDisk | None

    def __init__(self, directory: Path, seed: int) -> None:
        self.gateways: list[Gateway] = []
        self._directory = directory
        self._chance = random.Random(seed)
        self._made = self._away = 0
        self._copies: dict[str, Path] = {}
        self._full_since: int | None = None

    def things(self) -> list[Callable[[Gateway], None]]:
        """All that can happen here."""
        things: list[Callable[[Gateway], None]] = [
            self.agent_killed,
            self.agent_stopped,
            self.server_killed,
            self.both_killed,
            self.server_restarted,
            self.connections_cut,
            self.network_away,
            self.run_twice,
            self.spool_locked_at_start,
            self.spool_moved_away,
            self.spool_too_small,
            self.disk_full,
            self.disk_late,
            self.disk_gone,
            self.disk_exchanged,
            self.server_restored,
        ]
        if self._server_clock is not None:
            things += [self.agents_clock_set, self.servers_clock_set]
        if self._server_disk is not None:
            things.append(self.servers_disk_full)
        return things

    def agent_killed(self, one: Gateway) -> None:
        one.kill()
        one.start()

    def agent_stopped(self, one: Gateway) -> None:
        one.stop()
        one.start()

    def server_killed(self, _one: Gateway) -> None:
        self.server.process.kill()
        self._wait(2.0)
        self.server.start()

    def both_killed(self, one: Gateway) -> None:
        self.server.process.kill()
        self._wait(1.0)
        one.kill()
        one.start()
        self._wait(1.0)
        self.server.start()

    def server_restarted(self, _one: Gateway) -> None:
        self.server.restart()

    def connections_cut(self, _one: Gateway) -> None:
        for _ in range(self._chance.randrange(1, 5)):
            self.proxy.cut()
            self._wait(0.5)

    def network_away(self, one: Gateway) -> None:
        with self._no_network():
            self._wait(2.0)
            if self._chance.random() < 0.5:
                self.agent_killed(one)

    def run_twice(self, one: Gateway) -> None:
        with one.run() as second:
            assert second.wait() == 1
        assert f"process {one.process.pid} runs as this agent already" in second.errors

    def spool_locked_at_start(self, one: Gateway) -> None:
        one.kill()
        safe = one.bus.sent
        with one.locked_spool():
            one.start(has_spool=False)
            self._wait(3.0)
            is_killed = self._chance.random() < 0.3
            if is_killed:
                one.kill(safe)
        if is_killed:
            one.start()
        else:
            one.says_again(KEPT, 0)

    def spool_moved_away(self, one: Gateway) -> None:
        elsewhere = one.spool.with_name("elsewhere")
        with self._no_network() if self._chance.random() < 0.5 else nullcontext():
            self._wait(1.0)
            with one.moving():
                one.spool.rename(elsewhere)
            shutil.rmtree(elsewhere)
            if self._chance.random() < 0.5:
                self.agent_killed(one)

    def spool_too_small(self, _one: Gateway) -> None:
        """Of what waits the oldest goes."""
        one = self._small
        with self._no_network():
            before = one.status().metric("spool", "frames_trimmed")

            def trims() -> bool:
                one.bus.send(_BURST, self._chance)
                return bool(one.status().metric("spool", "frames_trimmed") > before)

            eventually(trims, "the spool lets go of something", PATIENCE_SECONDS)
            recorded = recorded_starts(self.server.data_dir, one.dongle_id).values()
            numbers = np.concatenate([start.numbers for start in recorded])
            waiting = np.setdiff1d(np.arange(one.bus.sent), numbers)
            one.causes.add("bound", waiting, max(0, len(waiting) - _SMALL_SPOOL_FRAMES))
            self._full_since = one.bus.sent

    def look_at_small_spool(self) -> None:
        """Until it was empty once it is full, and what comes may cost what is there."""
        one = self._small
        if self._full_since is not None:
            spool = one.status().service("spool")
            sent = one.bus.sent
            one.causes.add("bound", np.arange(self._full_since, sent))
            is_empty = spool is not None and spool.status_code == 0 and not spool.metrics["frames"]
            self._full_since = None if is_empty else sent

    def disk_full(self, one: Gateway) -> None:
        """Not of a spool that has made room for itself, and needs no more."""
        one = self.gateways[0] if one is self._small else one
        with self._no_network():
            failed, kept = one.said(_FAILED), one.said(KEPT)

            def fails() -> bool:
                one.bus.send(500, self._chance)
                return one.said(_FAILED) > failed

            with one.full_disk():
                eventually(fails, "a full disk is noticed", PATIENCE_SECONDS)
        one.says_again(KEPT, kept)

    def disk_late(self, one: Gateway) -> None:
        """The agent is there before its disk."""
        one.kill()
        one.slot.remove()
        one.start()
        self._wait(3.0)
        if self._chance.random() < 0.3:
            self.agent_killed(one)
        with one.moving():
            one.slot.insert(one.slot.card)

    def disk_gone(self, one: Gateway) -> None:
        """And it comes back, to an agent that may have been killed without it, or when it is there again."""
        with one.moving():
            one.slot.remove()
        self._wait(2.0)
        is_killed = self._chance.random()
        if is_killed < 0.3:
            self.agent_killed(one)
        if is_killed < 0.7:
            with one.moving():
                one.slot.insert(one.slot.card)
        else:  # what it wrote lies beneath the disk
            one.kill()
            one.slot.insert(one.slot.card)
            one.start()

    def disk_exchanged(self, one: Gateway) -> None:
        """For an old copy of it, while the agent runs or is away; then it is back."""
        copy = self._copies.pop(one.dongle_id, None) or self._copied(one)
        is_running = self._chance.random() < 0.5
        if not is_running:
            one.kill()
        with one.moving() if is_running else nullcontext():
            one.slot.remove()
            one.slot.insert(copy)
        if not is_running:
            one.start()
        self._wait(2.0)
        if self._chance.random() < 0.5:
            self.agent_killed(one)
        with one.moving():
            one.slot.remove()
            one.slot.insert(one.slot.card)
        shutil.rmtree(copy)
        if self._chance.random() < 0.5:
            self._copies[one.dongle_id] = self._copied(one)

    def _copied(self, one: Gateway) -> Path:
        copy = self._new("copy")
        one.kill()
        one.slot.copy(copy)
        one.start()
        self._wait(3.0)
        return copy

    def agents_clock_set(self, one: Gateway) -> None:
        assert one.clock is not None
        one.clock.set(self._chance.choice(_AHEAD_SECONDS))
        self._wait(1.0)
        if self._chance.random() < 0.3:
            self.agent_killed(one)

    def servers_clock_set(self, _one: Gateway) -> None:
        assert self._server_clock is not None
        self._server_clock.set(self._chance.choice(_AHEAD_SECONDS))
        self._wait(1.0)
        if self._chance.random() < 0.3:
            self.server.restart()

    def servers_disk_full(self, one: Gateway) -> None:
        assert self._server_disk is not None
        self._server_disk.fill()
        self._wait(4.0)
        if self._chance.random() < 0.3:
            self.agent_killed(one)
        self._server_disk.empty()

    def server_restored(self, _one: Gateway) -> None:
        """From a backup that is some seconds old: it has forgotten what it recorded since."""
        backup, before, data = self._new("backup"), self._new("before"), self.server.data_dir
        self.server.administer("backup", backup)
        self._wait(3.0)
        self.server.process.kill()
        with self._no_network():
            before.mkdir()
            for path in data.glob("*.sqlite3*"):
                shutil.move(path, before)
            shutil.move(backup, data / "stream-server.sqlite3")
            self.server.start()
            for one in self.gateways:
                forgotten = packets_of(before, one.dongle_id) - packets_of(data, one.dongle_id)
                one.causes.add("restore", numbers_of(before, one.dongle_id, forgotten))
                had, has = (in_gaps(one.began, recorded_starts(at, one.dongle_id)) for at in (before, data))
                one.causes.add("forgotten", np.setdiff1d(had, has))
        if "CHAOS_KEEP" not in os.environ:
            shutil.rmtree(before)

    # -- inside

    @property
    def _small(self) -> Gateway:
        return self.gateways[1 % len(self.gateways)]

    @contextmanager
    def _no_network(self) -> Iterator[None]:
        self._away += 1
        self.proxy.refuses = True
        self.proxy.cut()
        yield
        self._away -= 1
        self.proxy.refuses = self._away > 0

    def _wait(self, at_most_seconds: float) -> None:
        time.sleep(self._chance.uniform(0.0, at_most_seconds))  # how long it takes is what is drawn here

    def _new(self, name: str) -> Path:
        self._made += 1
        return self._directory / f"{name}-{self._made}"
