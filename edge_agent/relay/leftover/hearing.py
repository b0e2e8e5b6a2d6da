"""What is left in the drivers of dongles that nothing is relayed to any more, as their file says since."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from can_stream.frames.batches import FrameBatch
from edge_agent.host.clock import Clock
from edge_agent.host.runtime_directory import relay_record
from edge_agent.relay.leftover.late import LateFrames
from edge_agent.relay.record import left_in

Hear = Callable[[str, FrameBatch], FrameBatch]


def hearing(hear: Hear, directory: Path, dongle_ids: Iterable[str], clock: Clock) -> Hear:
    """`hear`, which is given frames with all own ones marked, by the records in `directory`
    (`relay_directory`)."""
    late: dict[str, LateFrames] = {}
    for dongle_id in dongle_ids:
        with suppress(OSError):
            content = relay_record(directory, dongle_id).read_bytes()
            late[dongle_id] = LateFrames(left_in(content, clock.boot_id()))

    def marked(dongle_id: str, frames: FrameBatch) -> FrameBatch:
        if dongle_id in late:
            frames = late[dongle_id].marked(frames, clock.boottime_ns())
        return hear(dongle_id, frames)

    return marked if any(late.values()) else hear
