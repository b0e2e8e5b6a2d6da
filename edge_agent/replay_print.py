"""A replay onto the terminal: normalized frames as JSON lines."""

from __future__ import annotations

from typing import BinaryIO

from edge_agent.replay import Replay, by_channel
from wire_protocol.normalized import FrameOrigin, can_frame_json, rows_of


async def print_frames(replay: Replay, out: BinaryIO) -> None:
    """Writes one line per frame, in the order of the log; without dongle_id and count."""
    async for frames, channel in replay.windows():
        origins = {
            number: FrameOrigin(None, replay.source.channels[number])
            for number, _ in by_channel((frames, channel))
        }
        lines = [
            can_frame_json(row, origins[number], None)
            for row, number in zip(rows_of(frames), channel.tolist(), strict=True)
        ]
        out.write(b"\n".join(lines) + b"\n")
        out.flush()
