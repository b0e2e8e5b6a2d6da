"""A serial adapter that is plugged in, out, and in again, from the port to what the server is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.agents import run_agent, wait_for_recorded
from tests.helpers.conditions import eventually
from tests.helpers.console_client import ConsoleClient
from tests.helpers.lawicel import LawicelAdapter
from tests.helpers.processes import EnrolledAgent, StreamServer
from tests.helpers.sse_streams import Event


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StreamServer]:
    with StreamServer(tmp_path / "server") as running:
        yield running


def discoveries(events: list[Event]) -> list[dict[str, Any]]:
    """What was told of adapters."""
    found = [event.payload["details"] for event in events if event.payload.get("source") == "discovery"]
    return [one for one in found if one["kind"].startswith("Dongle")]


def test_a_port_that_comes_and_goes_is_read_and_told(server: StreamServer, tmp_path: Path) -> None:
    viewer = server.create_token()
    port = tmp_path / "can-adapter"
    agent = EnrolledAgent(server, "van7", tmp_path)
    dongle = {"id": "van7-engine", "interface": "slcan", "channel": str(port), "bitrate": 500_000}

    def bus() -> dict[str, Any]:
        services = server.read_json("/api/v1/agents/van7/services", viewer)["services"]
        return next((one for one in services if one["agent_service_id"] == "bus.van7-engine"), {})

    with run_agent(agent, server.url, [dongle]) as process:
        eventually(lambda: bus().get("status") == "FAILED", "the port is missed")
        with ConsoleClient(server.url, "van7-engine", viewer) as console:
            told: list[tuple[str, str]] = []
            for number in range(2):
                with LawicelAdapter() as adapter:
                    port.symlink_to(adapter.path)
                    assert adapter.opened.wait(30)
                    adapter.send(b"t12%d0\r" % number)
                    wait_for_recorded(server, "van7-engine", viewer, number + 1)
                    told.append(("DonglePlugged", adapter.device))
                    console.wait_for(lambda events: len(discoveries(events)) == len(told))
                    port.unlink()
                told.append(("DongleUnplugged", adapter.device))
                console.wait_for(lambda events: len(discoveries(events)) == len(told))
            found = discoveries(console.events)
        assert [(one["kind"], one["channel"]) for one in found] == told
        assert {one["interface"] for one in found} == {"slcan"}
        eventually(lambda: bus()["status"] == "FAILED", "the port is missed again")
        assert process.stop() == 0


def test_a_stick_that_is_not_there_is_said_with_what_to_do(server: StreamServer, tmp_path: Path) -> None:
    agent = EnrolledAgent(server, "van8", tmp_path)
    missing = "the adapter NOSUCH1 is not there: plug it in, or correct `device_id`"
    with run_agent(agent, server.url, [{"device_id": "NOSUCH1"}]) as process:
        eventually(lambda: missing in process.errors and "streaming" in process.errors, "it is said")
        assert process.stop() == 0
    dongle = server.read_json("/api/v1/dongles/van8-nosuch1", server.create_token())
    assert (dongle["channel"], dongle["device_id"]) == ("NOSUCH1", "NOSUCH1")
