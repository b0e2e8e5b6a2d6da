"""A server that says anything to a gateway's sink: nothing leaves that its file, its lease or its limit of
age forbids, and whenever the server is honest again its frames arrive.

`RELAY_HOSTILE_MESSAGES` says how many, `FUZZ_SEED` which.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from random import Random
from typing import Any, Final
from unittest import mock

import numpy as np
import pytest

from can_stream.frames.batches import FrameFlag
from can_stream.protocol.control import encode_control_message
from can_stream.protocol.deflate import Deflater, Inflater
from can_stream.protocol.hop import Age
from can_stream.protocol.marker import Marker
from can_stream.protocol.packet_head import MAX_SEQ, PacketNumber
from can_stream.protocol.packets import encode_frames, encode_marker
from can_stream.protocol.relay_control import NOT_SENT, Cursor, Direction, Directions, RelayPong, Totals
from can_stream.protocol.relay_items import Counts, Item, ItemEncoder
from edge_agent.relay import judging
from edge_agent.relay.downlink.pings import Pings
from edge_agent.relay.lease import Lease
from edge_agent.relay.settling import Settling
from edge_agent.relay.waiting import Waiting
from edge_agent.transmit.policy import FramePermission
from tests.helpers.mutations import mutated, with_other_bytes
from tests.helpers.relay_hostile import (
    ALLOWED,
    FREE,
    MS,
    NEVER,
    SINK_ID,
    HostileGateway,
    chosen_facts,
    contents,
    numbered,
)

MESSAGES: Final = int(os.environ.get("RELAY_HOSTILE_MESSAGES", "800"))
SEED: Final = int(os.environ.get("FUZZ_SEED", "13"))
HONEST_EACH: Final = 40
HONEST: Final = 20
SOURCES: Final = ("truck-c", "truck-d")
ACTIVATIONS: Final = [f"{'ab' * 16}-{number}" for number in (1, 2)]
POSITIONS: Final = (0, 1, 7, 100, 2**31, MAX_SEQ - 3, MAX_SEQ)
KINDS: Final = (0, 0, 0, 0, FrameFlag.TX, FrameFlag.ERROR, FrameFlag.REMOTE, FrameFlag.EXTENDED, FrameFlag.FD)
LARGE: Final = Totals(MAX_SEQ, MAX_SEQ, MAX_SEQ, dict.fromkeys(NOT_SENT, MAX_SEQ))


class HostileServer:
    """What it says is mostly possible; it learns the numbers of pings, and is honest when asked."""

    def __init__(self, seed: int) -> None:
        self.gateway = HostileGateway()
        self.chance = Random(seed)
        self.number = self.honest = self.directed = self.position = self.ping = 0
        self.last = b""
        self.begins()

    def act(self) -> None:
        """One message, or something that happens at the gateway."""
        chance, gateway = self.chance, self.gateway
        what, is_open = chance.random(), True
        if what < 0.15:
            self.ping = gateway.ping()
        elif what < 0.25:
            gateway.pass_time(chance.choice((0, 1, 20, 200, 400, 600, 2_500)) * MS)
        elif what < 0.28:
            gateway.facts = chosen_facts(chance)
        elif what < 0.285:
            gateway.start()
            is_open = False
        elif what < 0.7:
            is_open = gateway.hear(self.handed())
        else:
            is_open = gateway.hear(self.text())
        if not is_open:
            self.begins()

    def begins(self) -> None:
        """A connection on which much may go."""
        self.ping = self.gateway.ping()
        self.directed += 1
        only = Direction(SINK_ID, SOURCES[0], ACTIVATIONS[0])
        self.gateway.hear(encode_control_message(Directions([only], self.directed)))
        self.gateway.hear(encode_control_message(RelayPong(self.ping, ACTIVATIONS)))

    def is_honest(self) -> None:
        """A server with nothing wrong, and a start of its own: all of it arrives, in order."""
        gateway = self.gateway
        gateway.facts = FREE
        gateway.pass_time(2_500 * MS)
        gateway.session.end(gateway.now_ns)
        gateway.connect()
        self.honest += 1
        activation = f"{'cd' * 16}-{self.honest}"
        self.directed += 1
        directions = Directions([Direction(SINK_ID, "honest", activation)], self.directed)
        assert gateway.hear(encode_control_message(directions))
        self.ping = gateway.ping()
        assert gateway.hear(encode_control_message(RelayPong(self.ping, [activation])))
        before = len(gateway.bus)
        frames = numbered([(ALLOWED, 0)] * HONEST, self.take(HONEST))
        packet = encode_frames(PacketNumber(f"{2**32 + self.honest:016x}", 2), frames, 1000, 0)
        assert gateway.say(Item(0, Age(0, self.ping, 0), fresh=True, packet=packet))
        assert gateway.bus[before:] == contents(frames), "honest frames arrive, in order"
        self.position = 0
        gateway.facts = chosen_facts(self.chance)
        self.begins()

    def take(self, count: int) -> int:
        """The first of so many numbers that no frame had."""
        self.number += count
        return self.number - count + 1

    # -- what it says

    def text(self) -> str | bytes:
        """A message, sometimes with something wrong in it."""
        chance = self.chance
        text = encode_control_message(self.pong() if chance.random() < 0.55 else self.directions())
        return json.dumps(mutated(chance, json.loads(text))) if chance.random() < 0.05 else text

    def pong(self) -> RelayPong:
        """For the last ping, or one that was not sent."""
        chance = self.chance
        number = self.ping if chance.random() < 0.8 else chance.choice((1, self.ping + 1, 2**53))
        return RelayPong(number, chance.sample(ACTIVATIONS, chance.choice((0, 1, 2, 2, 2))))

    def directions(self) -> Directions:
        """To another source, for another activation, with positions that it makes up."""
        chance = self.chance
        self.directed += 1
        if chance.random() < 0.1:
            return Directions([], self.directed)
        cursors = [self.cursor()] if chance.random() < 0.3 else []
        source, activation = chance.choice(SOURCES), chance.choice(ACTIVATIONS)
        dry, anew = chance.random() < 0.1, chance.random() < 0.1
        return Directions([Direction(SINK_ID, source, activation, dry, anew, cursors)], self.directed)

    def cursor(self) -> Cursor:
        """Perhaps with as large totals as there can be."""
        chance = self.chance
        totals = LARGE if chance.random() < 0.3 else Totals(sent=3)
        return Cursor(chance.choice(SOURCES), self.start_id(), chance.choice(POSITIONS), totals)

    def start_id(self) -> str:
        """Others after each time that it was honest."""
        return f"{1 + 4 * self.honest + self.chance.randrange(4):016x}"

    def handed(self) -> bytes:
        """An item or a row as it is on the wire, sometimes with other bytes, sometimes once more."""
        chance = self.chance
        if not self.last or chance.random() < 0.85:
            what = self.counts() if chance.random() < 0.1 else self.item()
            self.last = Inflater().unpack(ItemEncoder().encode(what))
        return Deflater().pack(with_other_bytes(chance, self.last) if chance.random() < 0.1 else self.last)

    def counts(self) -> Counts:
        """Of any place."""
        chance = self.chance
        first = chance.choice((*POSITIONS, self.position))
        through = min(MAX_SEQ, first + chance.choice((0, 1, 5, 50, MAX_SEQ)))
        frames = chance.randrange(through - first + 1)
        return Counts(
            0, self.start_id(), first, through, frames, chance.choice(NOT_SENT), chance.random() < 0.3
        )

    def item(self) -> Item:
        """Frames of any id and kind, at any place, of any age."""
        chance = self.chance
        ids = [
            (chance.choice((*[ALLOWED] * 3, NEVER, 0x100, 0x103, 0x7FF)), int(chance.choice(KINDS)))
            for _ in range(chance.choice((1, 3, 30)))
        ]
        places = (*[self.position] * 20, *POSITIONS)
        position = min(chance.choice(places), MAX_SEQ - len(ids))
        if position == self.position:
            self.position += len(ids)
        number = PacketNumber(self.start_id(), 1 + chance.randrange(1000))
        packet = encode_frames(number, numbered(ids, self.take(len(ids))), 1000, position)
        if chance.random() < 0.01:
            packet = encode_marker(number, Marker(ACTIVATIONS[0]), position)
        return Item(int(chance.random() < 0.01), self.age(), chance.random() < 0.6, packet)

    def age(self) -> Age:
        """Any, by a ping that was sent or was not."""
        chance = self.chance
        age_us = chance.choice((0, 0, 0, 1000, 1_500_000, 1_999_999, 2_100_000, 2**62 - 1, None))
        ping = self.ping if chance.random() < 0.9 else chance.choice((0, 1, self.ping + 1, 2**53))
        return Age(age_us, ping, chance.choice((*[0] * 9, 100, 50_000, 10**9, 2**62 - 1)))


def attack() -> HostileServer:
    server = HostileServer(SEED)
    for number in range(MESSAGES):
        server.act()
        if number % HONEST_EACH == HONEST_EACH - 1:
            server.is_honest()
    return server


def test_whatever_a_server_says_nothing_forbidden_leaves_and_honest_frames_arrive() -> None:
    server = attack()
    assert server.gateway.broken > MESSAGES / 100, "some of it broke the rules"
    assert len(server.gateway.bus) - HONEST * server.honest > MESSAGES / 20, "some of it was possible"


def leaves_out(owner: Any, name: str, weaker: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: mock.patch.object(owner, name, weaker)


WEAKER: Final = {
    "no lease": (leaves_out(Lease, "holds", lambda *_: True), "lease"),
    "a lease that does not end": (
        leaves_out(Lease, "holds", lambda self, _: self._granted_ns is not None),
        "after its lease",
    ),
    "what is of unknown age is young": (
        leaves_out(Pings, "born_ns", lambda _, age, now_ns: now_ns),
        "may not",
    ),
    "age is not judged again": (leaves_out(judging, "_age_seconds", lambda *_: 0.0), "may not"),
    "own echoes are relayed": (leaves_out(judging, "_NO_PART", FrameFlag.ERROR), "may not"),
    "no cursor": (leaves_out(Settling, "at", lambda *_: 0), "may not"),
    "what waited stays": (
        leaves_out(Waiting, "clear", lambda self, is_open: setattr(self, "_is_open", is_open)),
        "directions|no direction",
    ),
    "the list is not asked": (
        leaves_out(FramePermission, "_by_list", lambda _, batch: np.zeros(len(batch), np.uint8)),
        "not allowed",
    ),
    "the bus is not asked": (
        leaves_out(judging, "_fate", lambda verdict, _: "never" if verdict else "may_go"),
        "where nothing may",
    ),
}


@pytest.mark.parametrize(("without", "found"), WEAKER.values(), ids=WEAKER)
def test_each_rule_that_is_left_out_is_found(without: Any, found: str) -> None:
    with without(), pytest.raises(AssertionError, match=found):
        attack()
