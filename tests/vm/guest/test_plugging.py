"""An interface that comes, goes under load, and comes back under another name, while another bus is busy."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

from tests.helpers.agents import recorded_gaps, recorded_lines, wait_for_recorded
from tests.helpers.conditions import eventually
from tests.helpers.console_client import ConsoleClient
from tests.helpers.processes import EnrolledAgent, StreamServer, run_command
from tests.helpers.sse_streams import Event
from tests.vm.sandboxed_agent import sandboxed_agent

ALIAS: Final = "engine bus"
FIRST_NAME, LATER_NAME = "vcan8", "vcan9"
BUSY_BUS: Final = "vcan1"
# SPEC: 2 s. CI machines are several times slower, and this guest has one processor.
RESUME_SECONDS: Final = 2.0 * 3
PERIOD_SECONDS: Final = 0.01


class Traffic:
    """Frames with ids that count up, every 10 ms, until it is left or the interface is gone."""

    def __init__(self, bus: str) -> None:
        self.sent = 0
        self._left = threading.Event()
        self._socket = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        self._socket.bind((bus,))
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()
        self._socket.close()

    def _send(self) -> None:
        with contextlib.suppress(OSError):  # which it ends with when the interface goes
            while not self._left.wait(PERIOD_SECONDS):
                self._socket.send(struct.pack("=IB3x8s", self.sent | socket.CAN_EFF_FLAG, 0, b""))
                self.sent += 1


def plug(name: str) -> float:
    """Makes the interface; when it was usable, in seconds of the wall clock."""
    lines = [f"link add {name} type vcan", f'link set {name} alias "{ALIAS}"', f"link set {name} up"]
    run_command(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
    return time.time()


def unplug(name: str) -> None:
    run_command(["ip", "link", "del", name])


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    for name in (FIRST_NAME, LATER_NAME):
        if Path("/sys/class/net", name).exists():
            unplug(name)


def discoveries(events: list[Event]) -> list[tuple[str, str]]:
    logs = [event.payload["details"] for event in events if event.payload.get("source") == "discovery"]
    return [(one["kind"], one["channel"]) for one in logs if one["kind"].startswith("Dongle")]


def first_after(console: ConsoleClient, since: float) -> float:
    """How long after that time the first frame that is seen was on the bus. Nothing is polled for it."""

    def found(events: list[Event]) -> list[float]:
        stamps = [_seconds(event.payload["ts"]) for event in events if event.event == "can_frame"]
        return [stamp - since for stamp in stamps if stamp > since]

    return float(min(console.wait_for(found)))


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


@pytest.mark.parametrize(
    "place", [{"device_id": ALIAS}, {"channel": FIRST_NAME}], ids=["device_id", "channel"]
)
def test_a_bus_is_read_again_under_another_name_and_no_other_is_disturbed(
    server: StreamServer, viewer: str, tmp_path: Path, place: dict[str, Any]
) -> None:
    told = [("DonglePlugged", FIRST_NAME), ("DongleUnplugged", FIRST_NAME), ("DonglePlugged", LATER_NAME)]
    agent_id = "by-" + next(iter(place)).replace("_", "-")
    engine, busy = f"{agent_id}-engine", f"{agent_id}-busy"

    def bus_message(status: str, part: str, dongle_id: str = engine) -> None:
        def said() -> bool:
            services = server.read_json(f"/api/v1/agents/{agent_id}/services", viewer)["services"]
            (bus,) = [one for one in services if one["agent_service_id"] == f"bus.{dongle_id}"] or [{}]
            return bool(bus) and bus["status"] == status and part in bus["message"]

        eventually(said, f"the bus of {dongle_id} is {status}: {part}")

    def known_at(channel: str) -> None:
        def seen() -> bool:
            dongle = server.read_json(f"/api/v1/dongles/{engine}", viewer)
            return (dongle["channel"], dongle["device_id"]) == (channel, ALIAS)

        eventually(seen, f"the server knows the adapter at {channel}")

    agent = EnrolledAgent(server, agent_id, tmp_path)
    dongles = [{"id": engine, **place}, {"id": busy, "channel": BUSY_BUS}]
    with sandboxed_agent(agent, server.url, dongles) as process:
        bus_message("FAILED", "is not there")
        bus_message("OK", "reading", busy)
        with ConsoleClient(server.url, engine, viewer) as console, Traffic(BUSY_BUS) as traffic:
            since = plug(FIRST_NAME)
            with Traffic(FIRST_NAME):
                assert first_after(console, since) < RESUME_SECONDS
                bus_message("OK", f"reading socketcan {FIRST_NAME}")
                known_at(FIRST_NAME)
                console.wait_for(lambda events: discoveries(events) == told[:1])
                unplug(FIRST_NAME)
            bus_message("FAILED", "is not there")
            console.wait_for(lambda events: discoveries(events) == told[:2])
            since = plug(LATER_NAME)
            with Traffic(LATER_NAME):
                assert first_after(console, since) < RESUME_SECONDS
            bus_message("OK", f"reading socketcan {LATER_NAME}")
            bus_message("OK", ALIAS)
            known_at(LATER_NAME)
            console.wait_for(lambda events: discoveries(events) == told)
        wait_for_recorded(server, busy, viewer, traffic.sent)
        assert process.stop() == 0
    ids = [int(line.split()[2].split("#")[0], 16) for line in recorded_lines(server, busy, viewer)]
    assert ids == list(range(traffic.sent))
    assert [gap["where"] for gap in recorded_gaps(server, busy, viewer)] == ["agent_start"]
