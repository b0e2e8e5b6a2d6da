"""A replay onto a bus, through any interface of python-can."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edge_agent.errors import ReplayError
from edge_agent.replay import Replay, Totals
from wire_protocol.batches import FrameFlag
from wire_protocol.normalized import FrameRow, rows_of

if TYPE_CHECKING:
    import can


class BusOutlet:
    """Transmits every frame of `replay` but error frames, which no controller can send."""

    def __init__(self, replay: Replay, interface: str, channel: str) -> None:
        self._replay = replay
        self._interface = interface
        self._channel = channel
        self._sent = 0
        self._is_complete = False

    @property
    def totals(self) -> Totals:
        """Frames played, and how many of them the driver has accepted."""
        return Totals(self._replay.frames, self._sent)

    @property
    def is_complete(self) -> bool:
        """Whether the driver has accepted every frame."""
        return self._is_complete and self._sent == self._replay.frames

    async def run(self) -> None:
        """Until the logs are played. ReplayError when the bus cannot be opened or refuses a frame."""
        import can  # noqa: PLC0415 - most replays need no driver

        name = f"{self._interface}:{self._channel}"
        try:
            with can.Bus(interface=self._interface, channel=self._channel, fd=True) as bus:
                async for frames, _ in self._replay.windows():
                    for row in rows_of(frames):
                        if not row.flags & FrameFlag.ERROR:
                            await asyncio.to_thread(bus.send, _message(row), 1.0)
                            self._sent += 1
        except (can.CanError, OSError, ValueError, TypeError, ImportError) as error:
            raise ReplayError(f"{name}: {error}; sent {self._sent} frames until then") from error
        self._is_complete = True


def _message(row: FrameRow) -> can.Message:
    import can  # noqa: PLC0415 - most replays need no driver

    flags = row.flags
    return can.Message(
        arbitration_id=row.arbitration_id,
        is_extended_id=bool(flags & FrameFlag.EXTENDED),
        is_remote_frame=bool(flags & FrameFlag.REMOTE),
        is_fd=bool(flags & FrameFlag.FD),
        bitrate_switch=bool(flags & FrameFlag.BRS),
        error_state_indicator=bool(flags & FrameFlag.ESI),
        dlc=row.dlc if flags & FrameFlag.REMOTE else len(row.data),
        data=row.data,
    )
