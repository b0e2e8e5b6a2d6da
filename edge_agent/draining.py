"""How an agent ends: what the server takes in time or the disk keeps is not lost, and the rest is said."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from can_stream.lanes.sender import LaneSender
from can_stream.protocol.control import LaneName
from edge_agent.errors import UplinkError
from edge_agent.lanes.spooled_window import SpooledWindow
from edge_agent.spool.spool import Spool
from edge_agent.uplink.uplink import Uplink

STOP_SECONDS: Final = 3.5
# What the spool keeps needs no ack before the agent ends; what is on its way has this long.
STOP_SPOOLED_SECONDS: Final = 1.0
# How long to wait after a refusal before it is looked whether the server takes something after all.
REFUSED_SECONDS: Final = 30.0
_WORDS: Final = {"frames": "frames", "signals": "signal values"}
_logger: Final = logging.getLogger(__name__)


async def acknowledged(uplink: Uplink, lanes: Sequence[LaneSender], *, stopping: bool = False) -> None:
    """Everything; of lanes that wait for another day's budget nothing while `stopping`."""
    while True:
        with contextlib.suppress(UplinkError):  # refused: the uplink tries again, slowly
            await uplink.until(lambda: all(lane.is_empty or (stopping and lane.paused) for lane in lanes))
            return
        await asyncio.sleep(REFUSED_SECONDS)


async def drain(
    uplink: Uplink,
    streaming: asyncio.Task[None],
    lanes: Sequence[LaneSender],
    spool: Spool | None,
    spooling: asyncio.Task[None] | None,
) -> None:
    """Ends both tasks, `streaming` of the uplink and `spooling`: when nothing is lost by it, or late."""
    works = spool is not None and spool.works
    is_spooled = works and all(isinstance(lane.window, SpooledWindow) for lane in lanes)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_SPOOLED_SECONDS if is_spooled else STOP_SECONDS):
            await acknowledged(uplink, lanes, stopping=True)
    streaming.cancel()
    await asyncio.wait([streaming])
    if spool is not None and spooling is not None:
        spool.stop()
        await asyncio.wait([spooling], timeout=STOP_SECONDS)
        spooling.cancel()
    _say_what_is_left(lanes, spool)


def _say_what_is_left(lanes: Sequence[LaneSender], spool: Spool | None) -> None:
    if all(lane.is_empty for lane in lanes):
        return
    # Of a log, whose source waits while the lane is full, what was never sent is where it was before.
    waiting = {lane: 0 if lane.limits.trims else lane.untried_frames for lane in lanes}
    if lost := _summed({lane: lane.window.unsafe_frames - count for lane, count in waiting.items()}):
        _logger.error("%s were not acknowledged by the server and are lost", lost)
    if not_sent := _summed(waiting):
        _logger.warning("%s were not sent, and are in the log still: start again to play it", not_sent)
    if spool is not None and spool.frames:
        _say_what_waits(spool)


def _say_what_waits(spool: Spool) -> None:
    if spool.works:
        _logger.info("%d frames and values wait in %s", spool.frames, spool.directory)
    else:  # its file may be locked for now, or deleted
        text = "%d frames and values were written to %s, and are lost if they are not there any more: %s"
        _logger.error(text, spool.frames, spool.directory, spool.state.message)


def _summed(counts: Mapping[LaneSender, int]) -> str:
    """In words, lane by lane; "" for none."""
    sums = Counter[LaneName]()
    for lane, count in counts.items():
        sums[lane.lane] += count
    return " and ".join(f"{count} {_WORDS[name]}" for name, count in sums.items() if count)
