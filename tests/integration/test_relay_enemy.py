"""A gateway whose server forges what it hands over, and one that stands still: what stays off the bus."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path
from typing import Final

from can_stream.protocol.hop import Age
from can_stream.protocol.marker import Marker
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import encode_frames, encode_marker
from can_stream.protocol.relay_control import Credit, Direction, Directions, RelayPing
from can_stream.protocol.relay_items import Counts, Item
from tests.helpers.conditions import soon
from tests.helpers.relay_server import ON, SOURCE, START
from tests.integration.test_relay_downlink import PERMITTED, Gateway, frames, gateway, sent

HONEST: Final = 0x101
ALLOWLIST: Final = PERMITTED | {"transmit": "allowlist", "allow": [{"id": HONEST}]}


class Order:
    """Frames of START handed in turn, and how many of them were honest."""

    def __init__(self, one: Gateway) -> None:
        self.one = one
        self.position = self.honest = 0

    async def forge(self, age: Age, *, arbitration_id: int = HONEST) -> None:
        """A frame with this id and age, at the next position."""
        number = PacketNumber(START, 1 + self.position)
        packet = encode_frames(number, frames(arbitration_id, 1), 1000, self.position)
        await self.one.server.hand_over(Item(0, age, fresh=True, packet=packet))
        self.position += 1

    async def honest_frame(self) -> None:
        """One that may go: it comes out, and nothing beside the honest ones of before."""
        await self.one.server.hand_frames(frames(HONEST, 1), self.position)
        self.position += 1
        self.honest += 1
        await self.one.server.until_settled(self.position)
        assert sent(self.one.adapter) == [HONEST] * self.honest


async def test_forged_frames_ages_and_counts_send_nothing_beside_honest_frames(tmp_path: Path) -> None:
    async with gateway(tmp_path, relay=ALLOWLIST) as one, one.running():
        order = Order(one)
        await order.honest_frame()
        for arbitration_id in (0x100, 0x102, 0x7FF):
            await one.server.hand_frames(frames(arbitration_id, 1), order.position)
            order.position += 1
        await order.honest_frame()
        for age in (Age(None, 1, 0), Age(0, 2**30, 0), Age(0, 0, 0), Age(6_000_000, 1, 0)):
            await order.forge(age)
            await order.honest_frame()
        for position in range(order.position):  # what is settled, once more
            await one.server.hand_frames(frames(HONEST, 1), position)
        await one.server.hand_over(Counts(0, START, order.position, order.position + 5, 5, "too_old"))
        await one.server.hand_frames(frames(HONEST, 5), order.position)  # what was counted is not sent
        order.position += 5
        await order.honest_frame()
        totals = one.server.cursors[START].totals
        assert totals.accepted == order.honest
        assert totals.not_sent == {"not_allowed": 3, "too_old": 9}


async def test_an_answer_for_another_activation_is_no_lease(tmp_path: Path) -> None:
    async with gateway(tmp_path, relay=PERMITTED | {"max_age_seconds": 30}) as one, one.running():
        order = Order(one)
        await order.honest_frame()
        one.server.activations = [ON[:-1] + "2", "cd" * 16 + "-1"]
        # The answer to the next ping is in front of the frame, on the same connection.
        await one.server.until_relay_says(RelayPing, len(one.server.relay_says(RelayPing)) + 2)
        await one.server.hand_frames(frames(HONEST, 1), order.position)
        order.position += 1
        await soon(lambda: one.figures().waits_for == "lease", "the frame waits for a lease")
        await one.server.until_relay_says(RelayPing, len(one.server.relay_says(RelayPing)) + 4)
        assert sent(one.adapter) == [HONEST] * order.honest
        one.server.activations = [ON]
        order.honest += 1
        await order.honest_frame()


async def test_messages_that_break_the_rules_end_the_connection_and_the_next_one_works(
    tmp_path: Path,
) -> None:
    marker = encode_marker(PacketNumber(START, 1), Marker(ON), 0)
    broken = (
        random.Random(15).randbytes(300),
        Directions([Direction("another-bus", SOURCE, ON)], 9),
        Item(0, Age(0, 1, 0), fresh=True, packet=marker),
    )
    async with gateway(tmp_path) as one, one.running():
        order = Order(one)
        for said in broken:
            await order.honest_frame()
            known = len(one.server.relay_says(Credit))
            if isinstance(said, Item):
                await one.server.hand_over(said)
            else:
                await one.server.say_to_sink(said)
            await one.server.until_relay_says(Credit, known + 1)
        await order.honest_frame()
        assert one.server.opened == 1 + len(broken)


async def test_frames_that_grow_too_old_while_the_sink_stands_still_are_not_sent(tmp_path: Path) -> None:
    async with gateway(tmp_path, relay=PERMITTED | {"max_age_seconds": 3}) as one, one.running() as process:
        order = Order(one)
        await order.honest_frame()
        process.signal(signal.SIGSTOP)
        try:
            await soon(lambda: _stands_still(process.pid), "the agent stands still")
            await one.server.hand_frames(frames(0x200, 20), order.position)
            order.position += 20
            await asyncio.sleep(3.2)  # the age is what is tested
        finally:
            process.signal(signal.SIGCONT)
        assert (await one.server.until_settled(order.position)).totals.not_sent == {"too_old": 20}
        await order.honest_frame()


def _stands_still(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("T")
