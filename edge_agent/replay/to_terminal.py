"""A replay onto the terminal: normalized frames as JSON lines."""

from __future__ import annotations

from typing import BinaryIO

from can_stream.signals.evaluate import decode
from can_stream.signals.table import SignalTable
from can_stream.text.frame_json import FrameOrigin, can_frame_json, rows_of
from can_stream.text.signals_json import frame_members
from edge_agent.replay.replay import Replay, by_channel


async def print_frames(replay: Replay, out: BinaryIO, table: SignalTable | None) -> None:
    """Writes one line per frame, in the order of the log; without dongle_id and count."""
    async for frames, channel in replay.windows():
        origins = {
            number: FrameOrigin(None, replay.source.channels[number])
            for number, _ in by_channel((frames, channel))
        }
        decoded = None if table is None else decode(table, frames)
        lines = [
            can_frame_json(
                row, origins[number], None, b"" if decoded is None else frame_members(decoded, index)
            )
            for index, (row, number) in enumerate(zip(rows_of(frames), channel.tolist(), strict=True))
        ]
        out.write(b"\n".join(lines) + b"\n")
        out.flush()
