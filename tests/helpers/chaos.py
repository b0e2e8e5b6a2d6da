"""What happens to gateways and their server in bad years, and what it may cost: frames by their numbers."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.helpers.agents import recorded_lines, run_agent
from tests.helpers.conditions import eventually
from tests.helpers.counting_bus import CountingBus, numbers_in
from tests.helpers.cutting_proxy import CuttingProxy
from tests.helpers.numbered_recording import NumberedRecording, numbered_recording
from tests.helpers.processes import Argument, EnrolledAgent, Process, StreamServer, installed_command

FRAMES_PER_SECOND: Final = 300
FLUSH_SECONDS: Final = 0.25
# Until what it has read is surely on disk, also on a busy machine.
_SAFE_SECONDS: Final = FLUSH_SECONDS + 0.75
_MOVED: Final = "what waits is moved there"
_KEPT: Final = "spool: keeps what waits"


class Gateway:
    """An agent that reads a bus whose frames are numbered; `killed`: what kills may have cost."""

    def __init__(self, server: StreamServer, url: str, bus: CountingBus, name: str, directory: Path) -> None:
        self.bus, self.dongle_id = bus, f"{name}-can0"
        self.disk = directory / name
        self.disk.mkdir()
        self.spool = self.disk / "spool"
        self.killed: set[int] = set()
        self.restored: set[int] = set()
        self._agent = EnrolledAgent(server, name, directory)
        self._url = url
        self._starts = 0
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        """The agent."""
        assert self._process is not None, "the agent was not started"
        return self._process

    def run(self) -> Process:
        """`edge-agent run`, once more."""
        spool = {"directory": str(self.spool), "flush_seconds": FLUSH_SECONDS}
        return run_agent(self._agent, self._url, [self.bus.dongle(self.dongle_id)], spool=spool)

    def start(self) -> None:
        """The agent reads the bus, which is not silent any more."""
        self._starts += 1
        self._process = self.run()
        self.bus.wait_until_open(self._starts)
        eventually(lambda: "reading slcan" in self.process.errors, "the bus is read")
        self.bus.frames_per_second = FRAMES_PER_SECOND

    def close(self) -> None:
        """The agent is killed for good."""
        if self._process is not None:
            self._process.close()

    def kill(self, safe: int | None = None) -> None:
        """What it read in its last moments may be gone, and then the bus is silent until it is back.

        `safe`: so many were on disk for certain, where that is less than what was sent by now.
        """
        safe = self.bus.sent if safe is None else safe
        time.sleep(_SAFE_SECONDS)
        self.process.close()
        self.killed.update(range(safe, self.bus.pause()))

    def says_again(self, text: str, since: int) -> None:
        """It has said this more often than `since`."""
        eventually(lambda: self.process.errors.count(text) > since, f"{text!r} is said")

    @contextmanager
    def locked_spool(self) -> Iterator[None]:
        """Another process has its file."""
        other = sqlite3.connect(self.spool / "spool.sqlite3", isolation_level=None)
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")
        other.close()


class Chaos:
    """Some gateways, one server behind a proxy; `happens` does something bad to one of them."""

    def __init__(self, directory: Path, names: list[str], seed: int) -> None:
        self._directory, self._names = directory, names
        self._chance = random.Random(seed)
        self._stack = ExitStack()
        self._backups = 0
        self._begun = time.monotonic()
        self.happened: list[str] = []
        self.gateways: list[Gateway] = []

    def __enter__(self) -> Self:
        with self._stack:
            self.server = self._stack.enter_context(StreamServer(self._directory / "server"))
            self.token = self.server.create_token("viewer")
            self.proxy = self._stack.enter_context(CuttingProxy(self.server.port))
            for name in self._names:
                bus = self._stack.enter_context(CountingBus())
                self.gateways.append(Gateway(self.server, self.proxy.url, bus, name, self._directory))
            self._has_small_disk = self._mount(self.gateways[0].disk)
            for one in self.gateways:
                self._stack.callback(one.close)
                one.start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.stderr.write("\n".join(["--- what happened", *self.happened, ""]))
        self._stack.close()

    def recording(self, one: Gateway) -> NumberedRecording:
        """What the server has of it."""
        return numbered_recording(self.server, one.dongle_id, self.token)

    def differences(self, one: Gateway) -> list[str]:
        """What does not add up in the books of the server."""
        options: list[Argument] = ["books", one.dongle_id, "--json", "--data-dir", self.server.data_dir]
        with Process([*installed_command("stream-server"), *options]) as process:
            process.wait()
            found: list[str] = json.loads(process.output)["differences"]
        return found

    def happens(self) -> None:
        """One thing, drawn."""
        things: list[Callable[[Gateway], None]] = [
            self.agent_killed,
            self.agent_killed,
            self.server_killed,
            self.both_killed,
            self.server_restarted,
            self.connections_cut,
            self.network_away,
            self.run_twice,
            self.spool_locked_at_start,
            self.spool_moved_away,
            self.server_restored,
        ]
        if self._has_small_disk:
            things.append(self.disk_full)
        thing, one = self._chance.choice(things), self._chance.choice(self.gateways)
        begun = time.monotonic()
        try:
            thing(one)
        finally:
            self.happened.append(f"{begun - self._begun:6.1f} s: {thing.__name__} {one.dongle_id}")

    def agent_killed(self, one: Gateway) -> None:
        one.kill()
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
            one.start()
            self._wait(3.0)
            is_killed = self._chance.random() < 0.3
            if is_killed:
                one.kill(safe)
        if is_killed:
            one.start()

    def spool_moved_away(self, one: Gateway) -> None:
        said = one.process.errors.count(_MOVED)
        with self._no_network() if self._chance.random() < 0.5 else nullcontext():
            self._wait(1.0)
            one.spool.rename(one.disk / "elsewhere")
            one.says_again(_MOVED, said)
            shutil.rmtree(one.disk / "elsewhere")
            if self._chance.random() < 0.5:
                self.agent_killed(one)

    def disk_full(self, _one: Gateway) -> None:
        one = self.gateways[0]
        said = one.process.errors.count(_KEPT)
        filler = one.disk / "filler"
        with self._no_network():
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            one.says_again("the disk is full", one.process.errors.count("the disk is full"))
        filler.unlink()
        one.says_again(_KEPT, said)

    def server_restored(self, _one: Gateway) -> None:
        """From a backup that is some seconds old: it has forgotten what it recorded since."""
        self._backups += 1
        backup = self._directory / f"backup-{self._backups}"
        self.server.administer("backup", backup)
        self._wait(3.0)
        self.server.process.kill()
        with self._no_network():
            self.server.start()
            had = [self._numbers(one) for one in self.gateways]
            self.server.process.kill()
            data = self.server.data_dir
            for path in data.glob("*.sqlite3*"):
                path.unlink()
            backup.rename(data / "stream-server.sqlite3")
            self.server.start()
            for one, numbers in zip(self.gateways, had, strict=True):
                one.restored |= numbers.difference(self._numbers(one))

    def _numbers(self, one: Gateway) -> set[int]:
        return set(numbers_in(recorded_lines(self.server, one.dongle_id, self.token)))

    @contextmanager
    def _no_network(self) -> Iterator[None]:
        self.proxy.refuses = True
        self.proxy.cut()
        yield
        self.proxy.refuses = False

    def _wait(self, at_most_seconds: float) -> None:
        time.sleep(self._chance.uniform(0.0, at_most_seconds))  # how long it takes is what is drawn here

    def _mount(self, disk: Path) -> bool:
        """It has 8 MB, where this user may make such a disk."""
        command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return False
        self._stack.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=True)
        return True
