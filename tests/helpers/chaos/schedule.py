"""What happens to gateways and their server in bad years: drawn from one seed, one thing after another."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.helpers.chaos.account import Account, account
from tests.helpers.chaos.disks import SmallDisk, may_mount
from tests.helpers.chaos.gateway import Gateway
from tests.helpers.chaos.recorded import recorded_starts
from tests.helpers.chaos.things import SMALL_SPOOL_BYTES, Things
from tests.helpers.counting_bus import CountingBus
from tests.helpers.cutting_proxy import CuttingProxy
from tests.helpers.processes import Argument, Process, StreamServer, installed_command
from tests.helpers.wall_clock import HAS_WALL_CLOCKS, WallClock, wall_clock_library


class Chaos(Things):
    """Some gateways, one server behind a proxy; `happens` does something bad to one of them.

    The second gateway's spool is small. Things are drawn like cards: all once, then all once more.
    """

    def __init__(self, directory: Path, names: list[str], seed: int) -> None:
        super().__init__(directory, seed)
        self._names = names
        self._stack = ExitStack()
        self._deck: list[Callable[[Gateway], None]] = []
        self._begun = time.monotonic()
        self._diary = directory / "what-happened.txt"
        self._diary.touch()

    def __enter__(self) -> Self:
        with self._stack:
            self._server_disk = self._mount(self._directory / "server")
            library = wall_clock_library(self._directory) if HAS_WALL_CLOCKS else None
            self._server_clock = self._clock(library, "server")
            program = installed_command("stream-server")
            program = program if self._server_clock is None else self._server_clock.running(program)
            server = StreamServer(self._directory / "server", program=program)
            self.server = self._stack.enter_context(server)
            self.proxy = self._stack.enter_context(CuttingProxy(self.server.port))
            for number, name in enumerate(self._names):
                bus = self._stack.enter_context(CountingBus())
                spool = {"max_bytes": SMALL_SPOOL_BYTES} if number == 1 else {}
                one = Gateway(
                    server, self.proxy.url, bus, name, self._directory, self._clock(library, name), **spool
                )
                self._stack.callback(one.close)
                self.gateways.append(one)
                one.start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            sys.stderr.write(f"--- what happened\n{self._diary.read_text()}")
            if kind is not None:  # the disk goes, and is what tells why
                shutil.copytree(self._directory / "server", self._directory / "server-in-the-end")

    # -- what came of it

    def account(self, one: Gateway) -> Account:
        """Of all that was sent on its bus, which is silent now."""
        self.look_at_small_spool()
        recorded = recorded_starts(self.server.data_dir, one.dongle_id)
        return account(one.began, recorded, one.causes, one.bus.sent)

    def differences(self, one: Gateway) -> list[str]:
        """What does not add up in the books of the server."""
        options: list[Argument] = ["books", one.dongle_id, "--json", "--data-dir", self.server.data_dir]
        with Process([*installed_command("stream-server"), *options]) as process:
            process.wait()
            found: list[str] = json.loads(process.output)["differences"]
        return found

    # -- what happens

    def happens(self) -> None:
        """The next thing, to somebody, with or without a network."""
        if not self._deck:
            self._deck = self.things()
            self._chance.shuffle(self._deck)
        self.look_at_small_spool()
        thing, one = self._deck.pop(), self._chance.choice(self.gateways)
        is_away = self._chance.random() < 0.25
        self._say(f"{thing.__name__} {one.dongle_id}{', no network' * is_away}, frame {one.bus.sent}")
        with self._no_network() if is_away else nullcontext():
            thing(one)

    # -- inside

    def _say(self, text: str) -> None:
        with self._diary.open("a") as file:
            file.write(f"{time.monotonic() - self._begun:7.1f} s: {text}\n")

    def _clock(self, library: Path | None, name: str) -> WallClock | None:
        return None if library is None else WallClock(library, self._directory / f"{name}.clock")

    def _mount(self, place: Path) -> SmallDisk | None:
        if not may_mount():
            return None
        disk = SmallDisk(place, 4096)
        self._stack.callback(disk.close)
        return disk
