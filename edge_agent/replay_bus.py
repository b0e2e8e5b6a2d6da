"""A replay onto a bus, through any interface of python-can."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from edge_agent.errors import ReplayError
from edge_agent.replay import Replay, Totals
from edge_agent.sources.can_errors import open_failure
from wire_protocol.batches import FrameFlag
from wire_protocol.normalized import FrameRow, rows_of

if TYPE_CHECKING:
    import can

_SEND_SECONDS: Final = 1.0


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
        """Until the logs are played. SourceError, ReplayError when the bus does not open or take a frame."""
        with self._open() as bus:
            async for frames, _ in self._replay.windows():
                for row in rows_of(frames):
                    if not row.flags & FrameFlag.ERROR:
                        await asyncio.to_thread(self._send, bus, row)
                        self._sent += 1
        self._is_complete = True

    def _open(self) -> can.BusABC:
        import can  # noqa: PLC0415 - most replays need no driver

        # The one interface that must be told; the others take what their adapter can.
        options: dict[str, Any] = {"fd": True} if self._interface == "socketcan" else {}
        try:
            return can.Bus(interface=self._interface, channel=self._channel, **options)
        except Exception as error:  # drivers raise what they like
            raise open_failure(error, self._interface, self._channel) from error

    def _send(self, bus: can.BusABC, row: FrameRow) -> None:
        try:
            bus.send(_message(row), _SEND_SECONDS)
        except Exception as error:
            name = f"{self._interface}:{self._channel}"
            raise ReplayError(
                f"{name} does not take frame {self._sent + 1}: {error}; check that the bus is up and that "
                "another node acknowledges"
            ) from error


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
