"""What a running agent says of itself: books that balance, services on change, warnings, new ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_agent.status.document import AgentStatus
from tests.helpers.agents import log_dongle, run_agent, status_of, wait_for_recorded
from tests.helpers.candump_logs import write_log
from tests.helpers.conditions import eventually
from tests.helpers.console_client import ConsoleClient
from tests.helpers.lawicel import LawicelAdapter
from tests.helpers.processes import EnrolledAgent, StreamServer

ROOT = Path(__file__).resolve().parents[2]
# Of a Lawicel adapter's answer to F: the CAN receive queue was full.
QUEUE_FULL = 0x01


def services_of(server: StreamServer, agent: EnrolledAgent, viewer: str) -> dict[str, Any]:
    services = server.read_json(f"/api/v1/agents/{agent.agent_id}/services", viewer)["services"]
    return {one["agent_service_id"]: one for one in services}


def balanced(status: AgentStatus) -> None:
    """Every frame that was read is somewhere, at whatever moment one looks."""
    for dongle in status.dongles:
        hops = dongle.frames.hops
        accounted = sum(
            hops[name] for name in ("left_out", "acknowledged", "waiting", "lost_queue", "trimmed")
        )
        assert dongle.frames.taken == accounted, dongle
        before = hops["lost_driver"] + hops["lost_kernel"]
        assert dongle.frames.total == dongle.frames.taken + before
        assert dongle.frames.lost == before + hops["lost_queue"] + hops["trimmed"]
        if dongle.values is not None:
            values = dongle.values.hops
            assert dongle.values.taken == values["acknowledged"] + values["waiting"] + values["trimmed"]


def test_the_books_balance_at_every_moment_of_a_run(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    log = write_log(tmp_path / "drive.log", 30_000, 3_000)
    agent = EnrolledAgent(server, "books", tmp_path)
    dongles = [
        log_dongle(log, "books-all", loop=True, speed=2.0),
        {**log_dongle(log, "books-some", loop=True), "frame_filters": [{"id": "0x101"}]},
        {**log_dongle(log, "books-values", loop=True), "frames": "off",
         "databases": [f"{ROOT}/dbc/demo-vehicle.dbc"]},
    ]  # fmt: skip
    with run_agent(agent, server.url, dongles) as process:
        wait_for_recorded(server, "books-all", viewer, 5_000)
        for _ in range(200):
            status = status_of(agent)
            balanced(status)
        every, some, values = status.dongles
        assert every.frames.hops["acknowledged"] >= 5_000
        assert every.frames.sentence.startswith("0 lost of ")
        assert every.frames_per_second > some.frames_per_second > 0
        assert some.frames.hops["left_out"] > 0
        assert values.frames.hops["left_out"] == values.frames.taken > 0
        assert values.values is not None
        assert process.stop() == 0


def test_frames_that_a_full_window_pushes_out_are_lost_in_the_books(tmp_path: Path) -> None:
    with StreamServer(tmp_path / "server") as server:
        agent = EnrolledAgent(server, "window", tmp_path)
        viewer = server.create_token()
        server.stop()
        adapter = LawicelAdapter(flags=QUEUE_FULL)
        dongle = {"id": "window-bus", "interface": "slcan", "channel": adapter.path, "bitrate": 500_000}
        no_directory = tmp_path / "spool"
        no_directory.touch()
        limits: dict[str, Any] = {
            "uplink": {"window_bytes": 65_536},
            "spool": {"directory": str(no_directory)},
        }
        with run_agent(agent, server.url, [dongle], **limits):
            assert adapter.opened.wait(20)
            sent = 0

            def trimmed() -> bool:
                nonlocal sent
                adapter.send(
                    b"".join(b"t%03X8%016X\r" % (n % 2048, n * 2654435761) for n in range(sent, sent + 500))
                )
                sent += 500
                status = status_of(agent)
                balanced(status)
                return status.dongles[0].frames.hops["trimmed"] > 0

            eventually(trimmed, "the window is full")
            server.start()

            def settled() -> AgentStatus | None:
                status = status_of(agent)
                balanced(status)
                frames = status.dongles[0].frames
                return status if frames.hops["waiting"] == 0 and frames.taken == sent else None

            settled_status = eventually(settled, "everything is acknowledged or lost", 60)
            assert settled_status is not None
            frames = settled_status.dongles[0].frames
            wait_for_recorded(server, "window-bus", viewer, frames.hops["acknowledged"])
            assert frames.hops["acknowledged"] + frames.hops["trimmed"] == sent
            assert f"{frames.hops['trimmed']:,}".replace(",", " ") in frames.sentence
            assert "of what waited for the server, that memory or disk could not keep" in frames.sentence
            lost = eventually(lambda: status_of(agent).dongles[0].frames.uncounted_losses, "what F says")
            assert lost >= 1
            assert "the adapter lost some" in status_of(agent).dongles[0].frames.sentence
        adapter.unplug()


def test_what_waits_on_disk_is_in_the_books_of_its_start_alone(tmp_path: Path) -> None:
    with StreamServer(tmp_path / "server") as server, LawicelAdapter() as adapter:
        agent = EnrolledAgent(server, "books", tmp_path)
        viewer = server.create_token()
        server.stop()
        dongle = {"id": "books-bus", "interface": "slcan", "channel": adapter.path, "bitrate": 500_000}
        for count in (300, 700):
            adapter.opened.clear()
            with run_agent(agent, server.url, [dongle]) as process:
                assert adapter.opened.wait(20)
                adapter.send(b"".join(b"t%03X8%016X\r" % (n % 2048, n) for n in range(count)))

                def waits(count: int = count) -> bool:
                    status = status_of(agent)
                    balanced(status)
                    return status.dongles[0].frames.hops["waiting"] == count

                eventually(waits, "all wait for the server")
                assert process.stop() == 0
        with run_agent(agent, server.url, [dongle]):
            server.start()
            wait_for_recorded(server, "books-bus", viewer, 1_000)
            status = status_of(agent)
            balanced(status)
            assert status.dongles[0].frames.sentence == "0 lost of 0 frames"


def test_a_service_that_changes_is_told_at_once_and_all_of_them_when_connected(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    agent, adapter = EnrolledAgent(server, "changing", tmp_path), LawicelAdapter()
    dongle = {"id": "changing-bus", "interface": "slcan", "channel": adapter.path, "bitrate": 500_000}
    with run_agent(agent, server.url, [dongle]) as process:
        eventually(
            lambda: services_of(server, agent, viewer).get("bus.changing-bus", {}).get("status") == "OK", "OK"
        )
        services = services_of(server, agent, viewer)
        assert set(services) == {"agent", "uplink", "spool", "bus.changing-bus"}
        uplink = services["uplink"]
        assert (uplink["status"], uplink["metrics"]["server_host"]) == ("OK", "127.0.0.1")
        assert uplink["metrics"]["connected_since"]
        assert adapter.opened.wait(20)
        adapter.send(b"t1232AABB\r")
        # The server has it before the agent knows so, and what is told below has the agent's count.
        eventually(lambda: status_of(agent).dongles[0].frames.hops["acknowledged"] == 1, "the ack")
        with ConsoleClient(server.url, "changing-bus", viewer) as console:
            adapter.unplug()
            bus = eventually(
                lambda: (
                    (one := services_of(server, agent, viewer)["bus.changing-bus"])["status"] == "FAILED"
                    and one
                ),
                "the failure",
                timeout_seconds=10,  # well before the heartbeat, which has all of them
            )
            assert bus["metrics"]["fault"]
            assert bus["metrics"]["frames_read"] == bus["metrics"]["frames_acknowledged"] == 1
            logs = console.wait_for(
                lambda events: [e for e in events if e.event == "log" and e.payload["source"] == "agent"]
            )
            assert logs[0].payload["level"] == "warning"
            assert not logs[0].payload["message"].startswith("changing-bus: ")
        before = status_of(agent).metric("uplink", "bytes_up")
        assert before > 0
        server.restart()
        eventually(lambda: status_of(agent).metric("uplink", "reconnects"), "connected again", 60)
        status = status_of(agent)
        assert status.metric("uplink", "bytes_up") > before
        assert status.metric("uplink", "bytes_up_today") == status.metric("uplink", "bytes_up")
        assert status.metric("uplink", "bytes_down") > 0
        assert process.stop() == 0


def test_ids_are_told_once_for_ever_and_never_again_after_a_restart(
    server: StreamServer, viewer: str, tmp_path: Path
) -> None:
    agent, adapter = EnrolledAgent(server, "ids", tmp_path), LawicelAdapter()
    dongle = {"id": "ids-bus", "interface": "slcan", "channel": adapter.path, "bitrate": 500_000}

    def slugs(console: ConsoleClient, wanted: set[str]) -> list[str]:
        def found(events: list[Any]) -> list[str] | None:
            told = [
                event.payload["details"]["slug"]
                for event in events
                if event.event == "log" and event.payload["details"].get("kind") == "NewId"
            ]
            return told if wanted <= set(told) else None

        told: list[str] = console.wait_for(found)
        return told

    with run_agent(agent, server.url, [dongle]) as process:
        assert adapter.opened.wait(20)
        adapter.send(b"t1230\r")
        wait_for_recorded(server, "ids-bus", viewer, 1)
        with ConsoleClient(server.url, "ids-bus", viewer) as console:
            adapter.send(b"t1230\rt4560\rT18DAF1100\r" * 5)
            told = slugs(console, {"456-ids-bus", "18daf110-ids-bus"})
            assert len(told) == len(set(told))
        assert process.stop() == 0
    with run_agent(agent, server.url, [dongle]) as process:
        assert adapter.opened.wait(20)
        with ConsoleClient(server.url, "ids-bus", viewer) as console:
            adapter.send(b"t1230\rt4560\rT18DAF1100\rt0010\r")
            assert slugs(console, {"001-ids-bus"}) == ["001-ids-bus"]
        assert process.stop() == 0
    adapter.unplug()
