"""What of the directions is stored, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from can_stream.protocol.relay_control import SinkHello
from stream_server.groups.memberships import Group
from stream_server.relay import relay_store
from stream_server.relay.link import Link
from stream_server.relay.relay import Relay
from stream_server.relay.relay_store import Stored, Way
from stream_server.relay.values import Served, StoredLine, StoredStretch

WAY = Way("source", "sink")
GROUP = Group("bridge", "source", "sink", 0)
START = f"{1:016x}"
NOTHING = Stored()


class Recording:
    """Keeps what is written by name, and does `meanwhile` at each."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.meanwhile: Callable[[str], object] = lambda _: None

    async def write(self, job: partial[Any]) -> None:
        await asyncio.sleep(0)
        name = "served" if job.func is relay_store.put_served else "rest"
        self.written.append(name)
        self.meanwhile(name)


def relay_on(recording: Recording) -> Relay:
    return Relay(cast(Any, recording), cast(Any, None), cast(Any, None), cast(Any, None))


def greeted(relay: Relay, stored: Stored = NOTHING) -> Link:
    link = relay._add(WAY, GROUP, stored)
    link.greeted(SinkHello("sink", "2" * 32), 5)
    return link


def test_what_is_in_doubt_is_stored_before_the_record_that_is_served_now() -> None:
    async def run() -> None:
        recording = Recording()
        relay = relay_on(recording)
        line = StoredLine(START, 0, 0, 3, stretches=[StoredStretch(0, 3, 3, "too_old")])
        link = greeted(relay, Stored((), [line], Served("1" * 32)))
        await relay.serving_stored(link)
        assert recording.written == ["rest", "served"]
        await relay.serving_stored(link)
        assert recording.written == ["rest", "served"]

    asyncio.run(run())


def test_what_a_deleted_group_has_stored_last_is_not_taken_for_what_the_next_one_has() -> None:
    async def run() -> None:
        recording = Recording()
        relay = relay_on(recording)
        before = greeted(relay)
        recording.meanwhile = lambda name: relay._deleted(GROUP) if name == "served" else None
        await relay.serving_stored(before)
        recording.meanwhile = lambda _: None
        recording.written.clear()
        await relay.serving_stored(greeted(relay))
        assert recording.written == ["rest", "served"]

    asyncio.run(run())
