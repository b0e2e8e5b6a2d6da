"""How a bus stands, as the agent's service tells it: each fault made for real, named rightly, and cleared."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from edge_agent.host.can_link import read_can_link
from tests.helpers.agents import recorded_gaps, wait_for_recorded
from tests.helpers.conditions import eventually
from tests.helpers.error_frames import (
    ACTIVE,
    BUS_OFF,
    NO_ACK,
    OVERFLOW,
    PASSIVE,
    RESTARTED,
    STUFFING,
    Error,
    text_of,
)
from tests.helpers.processes import EnrolledAgent, Process, StreamServer
from tests.vm.can_utils import send, set_link
from tests.vm.kernel_slcan import KernelSlcan
from tests.vm.sandboxed_agent import SandboxedAgent, sandboxed_agent

ERRORS, LINK = "vcan1", "vcan7"
_PIDFD_GETFD: Final = 438  # asm-generic/unistd.h, and that of x86
_CAN_RAW_FILTER: Final = 1


@dataclass
class Watched:
    """A running agent that reads a virtual bus, one that may go, and a controller; and its server."""

    server: StreamServer
    viewer: str
    agent: SandboxedAgent
    adapter: KernelSlcan

    def bus(self, channel: str) -> dict[str, Any]:
        """The service of the channel's bus; {} while there is none."""
        services = self.server.read_json("/api/v1/agents/watched/services", self.viewer)["services"]
        label = f"Bus {channel}"
        return next((service for service in services if service["label"] == label), {})

    def wait_for(self, channel: str, fault: str, *words: str) -> dict[str, Any]:
        """The service once it has this fault and says these words."""

        def found() -> dict[str, Any] | None:
            service = self.bus(channel)
            stands_so = service.get("metrics", {}).get("fault") == fault and service["status"] != "STARTING"
            return service if stands_so and all(word in service["message"] for word in words) else None

        try:
            return eventually(found, f"{channel} has the fault {fault!r} {words}") or {}
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.bus(channel)}") from error


def add_link() -> None:
    subprocess.run(["ip", "link", "add", LINK, "type", "vcan"], check=True)
    subprocess.run(["ip", "link", "set", LINK, "mtu", "16", "up"], check=True)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    add_link()
    with StreamServer(tmp_path_factory.mktemp("server")) as server, KernelSlcan() as adapter:
        adapter.set_up("bitrate", "500000", "listen-only", "on")
        agent = EnrolledAgent(server, "watched", tmp_path_factory.mktemp("agent"))
        dongles: list[dict[str, Any]] = [
            {"id": "errors", "channel": ERRORS, "fd": True},
            {"id": "link", "channel": LINK},
            {"id": "controller", "channel": adapter.name, "bitrate": 500_000},
        ]
        with sandboxed_agent(agent, server.url, dongles) as process:
            one = Watched(server, server.create_token(), process, adapter)
            for channel in (ERRORS, LINK, adapter.name):
                one.wait_for(channel, "")
            yield one
    subprocess.run(["ip", "link", "del", LINK], check=False)


def test_error_frames_are_named_counted_and_cleared(watched: Watched) -> None:
    def told(error: Error, fault: str, *words: str) -> dict[str, Any]:
        send(ERRORS, text_of(error))
        return watched.wait_for(ERRORS, fault, *words)

    told(STUFFING, "bus_errors", "bit rate")
    told(NO_ACK, "no_ack", "another node")
    told(OVERFLOW, "overrun", "faster adapter")
    told(PASSIVE, "error_passive", "termination")
    assert told(BUS_OFF, "bus_off", "bus-off on vcan1")["status"] == "FAILED"
    told(RESTARTED, "bus_off", "has started again")
    send(ERRORS, text_of(ACTIVE), "123#11")
    service = watched.wait_for(ERRORS, "")
    assert service["status"] == "OK"
    metrics = service["metrics"]
    assert (metrics["error_frames"], metrics["error_frames_controller"], metrics["error_frames_bus_off"]) == (
        7,
        3,
        1,
    )
    assert metrics["controller_overruns"] == 1
    wait_for_recorded(watched.server, "errors", watched.viewer, 8)
    lost = [
        gap
        for gap in recorded_gaps(watched.server, "errors", watched.viewer)
        if gap["where"] == "agent_source"
    ]
    assert [gap["frames"] for gap in lost] == [None]


def test_an_interface_that_is_down_is_told_with_the_command(watched: Watched) -> None:
    set_link(LINK, "down")
    service = watched.wait_for(LINK, "down", f"sudo ip link set {LINK} up`")
    assert service["status"] == "FAILED"
    set_link(LINK, "up")
    watched.wait_for(LINK, "")


def test_an_interface_that_another_has_replaced_is_read_again(watched: Watched) -> None:
    before = read_can_link(LINK)
    subprocess.run(["ip", "link", "del", LINK], check=True)
    watched.wait_for(LINK, "unplugged", "plug it in")
    add_link()
    after = read_can_link(LINK)
    assert before is not None
    assert after is not None
    assert before.index != after.index
    watched.wait_for(LINK, "")
    read = watched.bus(LINK)["metrics"]["frames_read"]
    send(LINK, "123#11")
    wait_for_recorded(watched.server, "link", watched.viewer, read + 1)


def sockets_of(process: SandboxedAgent) -> list[socket.socket]:
    """The raw CAN sockets of another process, shared."""
    number = process.pid
    pidfd = os.pidfd_open(number)
    system_call = ctypes.CDLL(None, use_errno=True).syscall
    shared = []
    for entry in Path(f"/proc/{number}/fd").iterdir():
        if entry.readlink().name.startswith("socket:"):
            one = socket.socket(fileno=system_call(_PIDFD_GETFD, pidfd, int(entry.name), 0))
            if one.family == socket.AF_CAN:
                shared.append(one)
    os.close(pidfd)
    return shared


def test_a_socket_that_hears_nothing_while_its_interface_does_is_opened_again(watched: Watched) -> None:
    watched.wait_for(LINK, "")
    silent = watched.bus(ERRORS)["metrics"]["frames_read"]
    for one in sockets_of(watched.agent):
        if one.getsockname()[0] == LINK:
            one.setsockopt(socket.SOL_CAN_RAW, _CAN_RAW_FILTER, b"")
    with Process(["cangen", LINK, "-g", "100"]):
        read = watched.wait_for(LINK, "dead_driver", "works again")["metrics"]["frames_read"]
        assert f"{LINK} receives frames, but none has come to the agent" in watched.agent.errors
        watched.wait_for(LINK, "")
        wait_for_recorded(watched.server, "link", watched.viewer, read + 10)
    assert watched.bus(ERRORS)["metrics"]["frames_read"] == silent
    assert watched.bus(ERRORS)["status"] == "OK"


def test_a_controller_stands_as_its_driver_says(watched: Watched) -> None:
    adapter = watched.adapter
    metrics = watched.wait_for(adapter.name, "", "500000 bit/s, listen-only")["metrics"]
    assert (metrics["mode"], metrics["bitrate"]) == ("listen_only", 500_000)
    adapter.say("e1o")
    watched.wait_for(adapter.name, "overrun")
    adapter.say("sp130120")
    watched.wait_for(adapter.name, "error_passive")
    adapter.say("sb000255")
    service = watched.wait_for(adapter.name, "bus_off", "restart-ms is 0", "type can restart`")
    assert (service["status"], service["metrics"]["controller_state"]) == ("FAILED", "bus-off")
    adapter.say("sa000000")
    metrics = watched.wait_for(adapter.name, "")["metrics"]
    assert (metrics["controller_overruns"], metrics["driver_overruns"], metrics["bus_offs"]) == (1, 0, 1)
    gaps = recorded_gaps(watched.server, "controller", watched.viewer)
    assert len([gap for gap in gaps if gap["where"] == "agent_source"]) == 1


def test_settings_that_are_not_the_configured_ones_are_told_with_the_command(watched: Watched) -> None:
    adapter = watched.adapter
    adapter.set_up("bitrate", "250000", "listen-only", "off")
    command = f"sudo ip link set {adapter.name} up type can bitrate 500000 listen-only on`"
    service = watched.wait_for(adapter.name, "wrong_bitrate", "250000 bit/s", command, "also: wrong_mode")
    assert service["status"] == "DEGRADED"
    adapter.set_up("bitrate", "500000", "listen-only", "on")
    assert watched.wait_for(adapter.name, "", "500000 bit/s")["metrics"]["bitrate"] == 500_000
