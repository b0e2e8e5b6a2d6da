"""A replay onto the terminal: normalized frames as JSON lines."""

from __future__ import annotations

from typing import BinaryIO

from edge_agent.replay import Replay, by_channel
from signal_decoding.evaluate import decode
from signal_decoding.json_output import frame_members
from signal_decoding.table import SignalTable
from wire_protocol.normalized import FrameOrigin, can_frame_json, rows_of


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
