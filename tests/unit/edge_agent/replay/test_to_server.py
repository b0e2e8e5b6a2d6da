"""What a replay says of frames that its server has acknowledged, and has no more; and replays of pipes."""

from __future__ import annotations

import asyncio
import math
import os
from pathlib import Path

import pytest

from edge_agent.logs.selection import Selection
from edge_agent.replay.replay import Pace, Replay
from edge_agent.replay.to_server import ReplayUplink, ServerTarget
from tests.helpers.candump_logs import write_log
from tests.helpers.spooled_lanes import until
from tests.helpers.uplink_server import listening

FRAMES = 300


@pytest.mark.parametrize("comes_again", [False, True])
async def test_what_a_server_has_no_more_in_the_end_is_lost(tmp_path: Path, comes_again: bool) -> None:
    """Its books are asked again at the end: what a replay taken up again has sent since is there."""
    log = write_log(tmp_path / "a.log", FRAMES, 100)
    async with listening() as server, asyncio.timeout(60):
        replay = Replay(Selection([log]), Pace(1.0, 0.05, loop=False))
        uplink = ReplayUplink(replay, ServerTarget(server.url, "van7", "token"))
        running = asyncio.create_task(uplink.run())
        await until(lambda: uplink.totals.acknowledged > 0)
        greeted = len(server.lanes)
        server.remembers_from = greeted + 1 if comes_again else math.inf
        await server.drop()
        await running
    assert len(server.lanes) == greeted + 2, "after the break, and at the end"
    assert uplink.is_complete is comes_again
    assert uplink.lost_by_server == (0 if comes_again else FRAMES)
    assert (uplink.totals.frames, uplink.totals.acknowledged) == (FRAMES, FRAMES if comes_again else 0)


async def test_a_pipe_is_streamed_as_it_is_written(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with listening() as server, asyncio.timeout(60):
        replay = Replay(Selection([fifo]), Pace(1.0, 0.05, loop=False))
        uplink = ReplayUplink(replay, ServerTarget(server.url, "van7", "token"))
        running = asyncio.create_task(uplink.run())
        with await asyncio.to_thread(fifo.open, "wb", 0) as pipe:
            for count in range(1, 4):
                pipe.write(b"(%d.0) can0 123#11\n" % count)
                await until(lambda count=count: uplink.totals.acknowledged == count)  # type: ignore[misc]
        await running
    assert uplink.is_complete
    assert (replay.frames, replay.source.is_read, len(replay.source.books)) == (3, True, 1)
