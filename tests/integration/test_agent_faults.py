"""A fault in a part of a running agent: the process ends soon, and says why."""

from __future__ import annotations

import contextlib
import sys
import time
import uuid
from pathlib import Path
from typing import Final

from edge_agent.errors import StatusError
from tests.helpers import faulty_agent
from tests.helpers.agents import run_agent, status_of
from tests.helpers.conditions import eventually
from tests.helpers.processes import Argument, EnrolledAgent, StreamServer
from tests.helpers.relayed_group import ALL, udp_dongle

PARTS: Final = [
    "edge_agent.relay.running:SinkRunner._run",
    "edge_agent.relay.downlink.connection:Downlink._connect",
    "edge_agent.uplink.uplink:Uplink._connect",
    "edge_agent.status.reporting:Reporter._sample",
    "edge_agent.bus.reader:SourceReader._tell",
    "edge_agent.dongles.pipeline:Pipeline._due_in",
    "edge_agent.spool.spool:Spool._cycle",
    "edge_agent.discovery.new_ids:NewIds.run+held",
]
# A busy machine; the agent itself takes 6 s at the most.
END_SECONDS: Final = 15.0


def is_relayed_to(agent: EnrolledAgent) -> bool:
    """Whether all of it is up."""
    with contextlib.suppress(StatusError):  # its socket is there before it listens
        return all(one.connected for one in status_of(agent).relays)
    return False


def test_whichever_part_has_a_fault_the_agent_ends_soon_and_says_which(tmp_path: Path) -> None:
    with StreamServer(tmp_path / "server") as server:
        agent = EnrolledAgent(server, "van-1", tmp_path)
        numbers = uuid.uuid4().bytes
        dongle = udp_dongle("a-bus", f"239.74.{numbers[0]}.{numbers[1]}", 20_000 + numbers[2])
        for part in PARTS:
            trigger = tmp_path / "trigger"
            program: list[Argument] = [sys.executable, faulty_agent.__file__, part, trigger]
            with run_agent(agent, server.url, [dongle], program=program, relay=ALL) as process:
                eventually(lambda: is_relayed_to(agent), "it runs")
                trigger.touch()
                began_seconds = time.monotonic()
                status = process.wait(END_SECONDS)
                assert (status, time.monotonic() - began_seconds < END_SECONDS) == (1, True), part
                assert "the agent ends, for a part of it has failed" in process.errors, part
                assert "injected into" in process.errors, part
            trigger.unlink()
