"""Transmits on a bus, through any interface of python-can: single frames, or a whole replay."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from can_stream.frames.batches import FrameFlag
from can_stream.text.frame_json import FrameRow, rows_of
from edge_agent.bus.driver_errors import open_failure, unknown_interface
from edge_agent.errors import ReplayError
from edge_agent.replay.replay import Replay, Totals

if TYPE_CHECKING:
    import can

_SEND_SECONDS: Final = 1.0


def parse_target(text: str) -> tuple[str, str]:
    """Interface and channel of `INTERFACE:CHANNEL`. Raises ValueError."""
    interface, colon, channel = text.partition(":")
    if not (interface and colon and channel):
        raise ValueError(f"{text!r} is not of the form INTERFACE:CHANNEL, e.g. socketcan:can0")
    return interface, channel


class Transmitter:
    """A bus, opened as a context manager, that takes frames. `sent`: how many the driver has accepted.

    Entering raises SourceError where the bus does not open.
    """

    def __init__(self, interface: str, channel: str) -> None:
        self.sent = 0
        self._interface = interface
        self._channel = channel
        self._bus: can.BusABC | None = None

    def __enter__(self) -> Self:
        import can  # noqa: PLC0415 - most replays need no driver

        if self._interface not in can.VALID_INTERFACES:
            raise unknown_interface(self._interface, list(can.VALID_INTERFACES))
        # The one interface that must be told; the others take what their adapter can.
        options: dict[str, Any] = {"fd": True} if self._interface == "socketcan" else {}
        try:
            self._bus = can.Bus(interface=self._interface, channel=self._channel, **options)
        except Exception as error:  # drivers raise what they like
            raise open_failure(error, self._interface, self._channel) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._bus is not None
        self._bus.shutdown()

    def send(self, row: FrameRow) -> None:
        """Waits until the driver has accepted the frame. Raises ReplayError where it does not."""
        assert self._bus is not None
        try:
            self._bus.send(_message(row), _SEND_SECONDS)
        except Exception as error:
            name = f"{self._interface}:{self._channel}"
            raise ReplayError(
                f"{name} does not take frame {self.sent + 1}: {error}; check that the bus is up and that "
                "another node acknowledges"
            ) from error
        self.sent += 1


class BusOutlet:
    """Transmits every frame of `replay` but error frames, which no controller can send."""

    def __init__(self, replay: Replay, interface: str, channel: str) -> None:
        self._replay = replay
        self._transmitter = Transmitter(interface, channel)
        self._left_out = 0
        self._is_complete = False

    @property
    def totals(self) -> Totals:
        """Frames played, how many of them the driver has accepted, and how many no controller can send."""
        return Totals(self._replay.frames, self._transmitter.sent, error_frames=self._left_out)

    @property
    def is_complete(self) -> bool:
        """Whether the driver has accepted every frame that a controller can send."""
        return self._is_complete and self._transmitter.sent + self._left_out == self._replay.frames

    async def run(self) -> None:
        """Until the logs are played. SourceError, ReplayError when the bus does not open or take a frame."""
        with self._transmitter as transmitter:
            async for frames, _ in self._replay.windows():
                for row in rows_of(frames):
                    if row.flags & FrameFlag.ERROR:
                        self._left_out += 1
                    else:
                        await asyncio.to_thread(transmitter.send, row)
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
