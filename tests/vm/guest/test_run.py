"""`edge-agent run` on a kernel's bus, with can-utils as the witness of what was on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.helpers.agents import recorded_lines, wait_for_recorded
from tests.helpers.candump_logs import write_log
from tests.helpers.conditions import eventually
from tests.helpers.processes import EnrolledAgent, StreamServer
from tests.vm.can_utils import EVERY_KIND, Candump, play, send, set_link
from tests.vm.sandboxed_agent import sandboxed_agent


def dongle(bus: str, dongle_id: str, **changes: Any) -> dict[str, Any]:
    return {"id": dongle_id, "interface": "socketcan", "channel": bus, **changes}


def wait_for_bus(server: StreamServer, viewer: str, agent_id: str, status: str) -> str:
    """What the agent says of its bus, once it says it stands so."""

    def message() -> str:
        services = server.read_json(f"/api/v1/agents/{agent_id}/services", viewer)["services"]
        buses = [one for one in services if one["service_type"] == "bus" and one["status"] == status]
        return buses[0]["message"] if buses else ""

    return eventually(message, f"the bus of {agent_id} is {status}")


def test_every_kind_of_frame_is_recorded_as_candump_saw_it(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    agent = EnrolledAgent(server, "kinds", tmp_path)
    with (
        Candump("vcan0", len(EVERY_KIND)) as witness,
        sandboxed_agent(agent, server.url, [dongle("vcan0", "kinds-can", fd=True)]) as process,
    ):
        wait_for_bus(server, viewer, "kinds", "OK")
        send("vcan0", *EVERY_KIND)
        wait_for_recorded(server, "kinds-can", viewer, len(EVERY_KIND))
        assert process.stop() == 0
        assert recorded_lines(server, "kinds-can", viewer) == witness.lines()


def test_a_busy_bus_is_recorded_whole_and_in_order(server: StreamServer, viewer: str, tmp_path: Path) -> None:
    frames = 5_000
    log = write_log(tmp_path / "drive.log", frames, 1_000)
    agent = EnrolledAgent(server, "busy", tmp_path)
    with (
        Candump("vcan0", frames) as witness,
        sandboxed_agent(agent, server.url, [dongle("vcan0", "busy-can")]) as process,
    ):
        wait_for_bus(server, viewer, "busy", "OK")
        play(log, "vcan0")
        wait_for_recorded(server, "busy-can", viewer, frames)
        assert process.stop() == 0
        seen = witness.lines()
    sent = [line.split()[2] for line in log.read_text().splitlines()]
    assert [line.split()[2] for line in seen] == sent
    assert recorded_lines(server, "busy-can", viewer) == seen


def test_a_bus_that_goes_down_is_reported_and_read_again_when_it_is_back(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    agent = EnrolledAgent(server, "shaken", tmp_path)
    with sandboxed_agent(agent, server.url, [dongle("vcan1", "shaken-can")]) as process:
        wait_for_bus(server, viewer, "shaken", "OK")
        send("vcan1", "001#01")
        set_link("vcan1", "down")
        assert "vcan1" in wait_for_bus(server, viewer, "shaken", "FAILED")
        set_link("vcan1", "up")
        wait_for_bus(server, viewer, "shaken", "OK")
        send("vcan1", "002#02")
        wait_for_recorded(server, "shaken-can", viewer, 2)
        assert process.stop() == 0
    recorded = [line.split()[2] for line in recorded_lines(server, "shaken-can", viewer)]
    assert [frame for frame in recorded if frame in {"001#01", "002#02"}] == ["001#01", "002#02"]
