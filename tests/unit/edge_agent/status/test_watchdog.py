"""What systemd is told, byte by byte, and when the watchdog goes hungry."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, empty_batch
from can_stream.service_manager import ServiceManager
from edge_agent.bus.reader import ReaderLimits, SourceReader
from edge_agent.host.backoff import UPLINK_POLICY
from edge_agent.host.clock import Clock
from edge_agent.state import StatusCode
from edge_agent.status.watchdog import CONNECTING_SECONDS, Watchdog
from edge_agent.uplink.state import UplinkPhase, UplinkState

CONNECTED = UplinkState(UplinkPhase.STREAMING, "streaming to https://stream.example.com")


@dataclass
class Systemd:
    """The other end of NOTIFY_SOCKET."""

    variable: str
    socket: socket.socket = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.variable, "WATCHDOG_USEC": "10000000"}

    def told(self) -> list[str]:
        """Every datagram so far."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096, socket.MSG_DONTWAIT).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    variable = str(tmp_path / "notify")
    if request.param == "abstract":
        variable = f"@can-edge-agent-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(variable.replace("@", "\0"))
        yield Systemd(variable, listening)


class SetClock(Clock):
    """Shows what a test sets."""

    seconds = 1000.0

    def monotonic_ns(self) -> int:
        return int(self.seconds * 1e9)


class Bus:
    """A driver that returns nothing, and not at all while `hangs` is set."""

    info = "a test bus"
    malformed = 0
    can_wait = False

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.hangs = threading.Event()
        self.released = threading.Event()

    def read(self, timeout_seconds: float) -> FrameBatch:
        if self.hangs.is_set():
            self.entered.release()
            self.released.wait()
        self.released.wait(0.001)
        return empty_batch()

    def close(self) -> None:
        pass


def test_every_message_is_one_datagram_in_the_words_of_sd_notify(systemd: Systemd) -> None:
    manager = ServiceManager(systemd.environment)
    before_us = time.monotonic_ns() // 1000
    manager.ready()
    manager.reloading()
    manager.alive()
    manager.stopping()
    ready, reloading, alive, stopping = systemd.told()
    assert (ready, alive, stopping) == ("READY=1", "WATCHDOG=1", "STOPPING=1")
    name, stamp = reloading.split("\nMONOTONIC_USEC=")
    assert name == "RELOADING=1"
    assert before_us <= int(stamp) <= time.monotonic_ns() // 1000


def test_a_long_start_asks_for_time_and_is_alive(systemd: Systemd) -> None:
    """A server that begins anew has been ready before: its watchdog waits too."""
    ServiceManager(systemd.environment).starting("reads")
    assert systemd.told() == ["EXTEND_TIMEOUT_USEC=60000000\nWATCHDOG=1", "STATUS=reads"]


def test_a_status_is_told_once_and_can_say_nothing_but_a_status(systemd: Systemd) -> None:
    manager = ServiceManager(systemd.environment)
    for text in ("one", "one", "two\nREADY=1", "x" * 5000):
        manager.status(text)
    assert systemd.told() == ["STATUS=one", "STATUS=two READY=1", "STATUS=" + "x" * 500]


@given(text=st.text())
def test_any_text_is_one_line_of_status(text: str) -> None:
    name = f"\0can-edge-agent-status-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        ServiceManager({"NOTIFY_SOCKET": name.replace("\0", "@")}).status(f"s {text}")
        (told,) = Systemd("", listening).told()
    assert told.startswith("STATUS=s")
    assert len(told.split("\n")) == 1


@pytest.mark.parametrize("variable", ["", "relative", "@", "vsock:2:1234"])
def test_where_nobody_listens_nothing_is_done(variable: str, caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": variable})
    assert not manager.listens
    manager.ready()
    assert caplog.text == ""


def test_a_manager_that_is_gone_is_said_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert "systemd cannot be told READY=1: No such file or directory" in caplog.text


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "2500000"}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": str(os.getpid())}, 2.5),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "1"}, None),
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "9" * 400}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_how_long_the_watchdog_waits(environment: dict[str, str], seconds: float | None) -> None:
    assert ServiceManager(environment).watchdog_seconds == seconds


@dataclass
class Watched:
    """Watchdog of one reader on a test bus."""

    bus: Bus
    clock: SetClock
    watchdog: Watchdog
    reader: SourceReader


async def watched(systemd: Systemd, run: Callable[[Watched], None]) -> None:
    """Runs a test while the bus is read."""
    bus, clock, opened = Bus(), SetClock(), asyncio.Event()
    limits = ReaderLimits(hang_read_seconds=2.5)
    reader = SourceReader("van7-can0", lambda: bus, lambda _: opened.set(), limits, clock)
    watchdog = Watchdog(ServiceManager(systemd.environment), [reader], clock)
    watchdog.uplink_changed(CONNECTED)
    reader.start()
    try:
        while reader.state.code is not StatusCode.OK:
            opened.clear()
            await opened.wait()
        await asyncio.to_thread(run, Watched(bus, clock, watchdog, reader))
    finally:
        bus.released.set()
        await reader.stop()


async def test_a_silent_bus_feeds_the_watchdog_however_long_it_is_silent(systemd: Systemd) -> None:
    def run(one: Watched) -> None:
        one.watchdog.look()
        one.watchdog.look()

    await watched(systemd, run)
    first, *rest = systemd.told()
    assert first == f"STATUS=dongles OK: 1/1; uplink: {CONNECTED.message}"
    assert rest == ["WATCHDOG=1", "WATCHDOG=1"]


async def test_a_driver_that_hangs_starves_it_and_is_named_once(
    systemd: Systemd, caplog: pytest.LogCaptureFixture
) -> None:
    def run(one: Watched) -> None:
        one.bus.hangs.set()
        assert one.bus.entered.acquire(timeout=30)
        one.clock.seconds += 2.4
        one.watchdog.look()
        assert "WATCHDOG=1" in systemd.told()
        one.clock.seconds += 0.2
        one.watchdog.look()
        one.watchdog.look()
        assert "WATCHDOG=1" not in systemd.told()
        one.bus.hangs.clear()
        one.bus.released.set()
        while one.watchdog.standstill() is not None:
            time.sleep(0.001)
        one.watchdog.look()
        assert "WATCHDOG=1" in systemd.told()

    await watched(systemd, run)
    said = [record for record in caplog.records if record.name == "edge_agent.status.watchdog"]
    assert [record.levelno for record in said] == [logging.ERROR, logging.WARNING]
    assert "the driver of van7-can0 has not returned for more than 2.5 s" in said[0].getMessage()


@pytest.mark.parametrize(
    ("state", "patience_seconds"),
    [
        (
            UplinkState(UplinkPhase.WAITING, "cannot be reached"),
            UPLINK_POLICY.cap_seconds + CONNECTING_SECONDS,
        ),
        (UplinkState(UplinkPhase.REFUSED, "refused"), UPLINK_POLICY.refused_seconds + CONNECTING_SECONDS),
    ],
)
def test_an_uplink_that_does_not_try_again_starves_it(
    systemd: Systemd, state: UplinkState, patience_seconds: float
) -> None:
    clock = SetClock()
    watchdog = Watchdog(ServiceManager(systemd.environment), [], clock)
    watchdog.uplink_changed(state)
    clock.seconds += patience_seconds
    assert watchdog.standstill() is None
    clock.seconds += 1
    assert state.message in str(watchdog.standstill())
    watchdog.uplink_changed(state)  # it has tried
    assert watchdog.standstill() is None
    watchdog.uplink_changed(CONNECTED)
    clock.seconds += 1e6
    assert watchdog.standstill() is None


async def test_it_is_fed_often_enough_and_without_systemd_not_at_all(systemd: Systemd) -> None:
    environment = {**systemd.environment, "WATCHDOG_USEC": "40000"}
    watchdog = Watchdog(ServiceManager(environment), [], Clock())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watchdog.keep_told(), 1.0)
    assert systemd.told().count("WATCHDOG=1") >= 10
    await asyncio.wait_for(Watchdog(ServiceManager({}), [], Clock()).keep_told(), 10)


LOGGING = """if True:
    import logging, os, sys
    from can_stream.service_manager import log_to_standard_error
    status = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino + int(sys.argv[1])}"
    log_to_standard_error(logging.DEBUG)
    for level in (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG):
        logging.getLogger("it").log(level, "one\\ntwo", stack_info=level == logging.ERROR)
"""


def logged(inode_difference: int) -> list[str]:
    command = [sys.executable, "-c", LOGGING, str(inode_difference)]
    return subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr.splitlines()


def test_the_journal_gets_the_level_of_every_line_and_nobody_else_does() -> None:
    plain = logged(1)
    behind = [line for line in plain if line.startswith("  ")]
    assert plain == [
        r"ERROR it: one\ntwo", *behind, r"WARNING it: one\ntwo", r"INFO it: one\ntwo", r"DEBUG it: one\ntwo"
    ]  # fmt: skip
    levels = [3] * (1 + len(behind)) + [4, 6, 7]
    assert len(behind) > 1
    assert logged(0) == [f"<{level}>{line}" for level, line in zip(levels, plain, strict=True)]
