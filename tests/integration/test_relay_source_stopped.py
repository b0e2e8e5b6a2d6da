"""An agent that stands still while frames wait in its driver: their age counts from when the driver was last
found empty, not from when they were read."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import can
import pytest

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.control import RelaySource
from can_stream.protocol.packets import decode_packet
from tests.helpers.agents import RegisteredAgent, run_agent
from tests.helpers.conditions import soon
from tests.helpers.relay_server import ON
from tests.helpers.relayed_group import udp_dongle
from tests.helpers.uplink_server import UplinkServer, listening

pytest.importorskip("msgpack", reason="python-can's udp_multicast needs msgpack (python-can[multicast])")

STOPPED_SECONDS: Final = 1.5
WAITED_ID, HONEST_ID = 0x101, 0x102


def ages_seconds(server: UplinkServer, arbitration_id: int) -> list[float]:
    """What packets with such frames say of their age; what was read before the marker says none."""
    found = []
    for one in list(server.packets):
        body = decode_packet(one.packet).body
        is_asked = isinstance(body, FrameBatch) and arbitration_id in body.arbitration_id
        if is_asked and one.age is not None and one.age.age_us is not None:
            found.append(one.age.age_us / 1e6)
    return found


def sending(bus: can.BusABC, arbitration_id: int, is_enough: Callable[[], object]) -> Callable[[], object]:
    """Sends one more with each look."""

    def look() -> object:
        bus.send(can.Message(arbitration_id=arbitration_id, is_extended_id=False, data=b"\1"))
        return is_enough()

    return look


async def test_what_waits_while_the_source_stands_still_is_as_old_as_that(tmp_path: Path) -> None:
    (tmp_path / "van7.token").write_text("cea_agent_secret")
    (tmp_path / "van7.token").chmod(0o600)
    agent = RegisteredAgent("van7", tmp_path / "van7.token")
    place: Any = f"239.74.{uuid.uuid4().int % 250 + 1}.{os.getpid() % 250 + 1}", 20_000 + os.getpid() % 20_000
    async with listening() as server:
        server.wants_ages = True
        with (
            can.Bus(place[0], "udp_multicast", port=place[1], ignore_config=True) as bus,
            run_agent(
                agent, server.url, [udp_dongle("van7-can0", *place)], relay={"source": True}
            ) as process,
        ):
            await server.lanes.until(1)
            await server.tell(RelaySource("van7-can0", ON))
            is_read = sending(bus, HONEST_ID, lambda: ages_seconds(server, HONEST_ID))
            await soon(is_read, "the bus is read")
            process.signal(signal.SIGSTOP)
            try:
                await soon(lambda: stands_still(process.pid), "it stands still")
                for _ in range(10):
                    bus.send(can.Message(arbitration_id=WAITED_ID, is_extended_id=False, data=b"\1"))
                await asyncio.sleep(STOPPED_SECONDS)  # the age is what is tested
            finally:
                process.signal(signal.SIGCONT)
            await soon(lambda: ages_seconds(server, WAITED_ID), "what waited is carried")
            assert min(ages_seconds(server, WAITED_ID)) >= STOPPED_SECONDS
            young = sending(bus, HONEST_ID, lambda: ages_seconds(server, HONEST_ID)[-1] < STOPPED_SECONDS / 2)
            await soon(young, "what comes afterwards is young")


def stands_still(pid: int) -> bool:
    """Whether the process is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")
