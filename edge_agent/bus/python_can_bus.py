"""Any interface of python-can, by name, as a source."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from can_stream.frames.batches import (
    EXTENDED_ID_MASK,
    FD_LENGTHS,
    STANDARD_ID_MASK,
    FrameBatch,
    FrameFlag,
    batch_of,
    empty_batch,
)
from edge_agent.bus.driver_errors import open_failure, read_failure, unknown_interface
from edge_agent.bus.driver_times import TimestampMapper
from edge_agent.bus.source import FoundEmpty
from edge_agent.config.dongle import LISTEN_ONLY_OPTIONS, DongleSection
from edge_agent.errors import SourceError
from edge_agent.host.clock import Clock
from edge_agent.transmit.own_frames import ComeBack

if TYPE_CHECKING:
    import can

    from edge_agent.transmit.python_can_writer import PythonCanWriter

_MAX_ROWS: Final = 2_000
_MAX_GARBAGE: Final = 10
_MAX_STAMP_SECONDS: Final = 9e9  # the year 2255; int64 nanoseconds end in 2262
_FD_LENGTHS: Final = frozenset(FD_LENGTHS)

# Of interfaces where it was tried; of any other, what the driver takes is given back by us, as taken.
COME_BACK: Final[Mapping[str, ComeBack]] = {"virtual": "marked", "udp_multicast": "unmarked"}
_LOOK_AGAIN_SECONDS: Final = 0.02

Row = tuple[int, int, int, int, bytes]


class PythonCanBus:
    """An opened bus of python-can. The constructor opens it and raises SourceError.

    Timestamps are the driver's, brought to the wall clock by `TimestampMapper`, to the microsecond that
    python-can's floats can hold. Frames that its writer has written have `FrameFlag.TX`.
    """

    can_wait = False

    def __init__(self, dongle: DongleSection, clock: Clock | None = None) -> None:
        self._interface, self._channel = dongle.interface, dongle.channel
        self._clock = clock or Clock()
        self._mapper = TimestampMapper()
        self._pending: SourceError | None = None
        self._found_empty = FoundEmpty()
        self._garbage_in_a_row = 0
        self._malformed = 0
        self._bus = _open_bus(dongle)
        self._come_back = COME_BACK.get(dongle.interface, "never")
        self._writer = self._new_writer(dongle) if dongle.mode == "normal" else None

    @property
    def writer(self) -> PythonCanWriter | None:
        """Who writes to it; None where the dongle only listens."""
        return self._writer

    @property
    def info(self) -> str:
        """The interface, its channel, and what the driver calls them."""
        return f"{self._interface} {self._channel} ({self._bus.channel_info})"

    @property
    def malformed(self) -> int:
        """Frames with too little data or impossible ids or lengths, and what the driver could not parse."""
        return self._malformed

    @property
    def born_ns(self) -> int:
        """See `Aged`."""
        return self._found_empty.born_ns

    def read(self, timeout_seconds: float) -> FrameBatch:
        """What has arrived: waits for the first frame, takes what else is there. Raises SourceError."""
        if self._writer is None:
            return self._read(timeout_seconds)
        if self._come_back == "never":  # what the driver has taken wakes nobody
            timeout_seconds = min(timeout_seconds, _LOOK_AGAIN_SECONDS)
        return self._writer.marked(self._read(timeout_seconds), self._clock.wall_ns())

    def _new_writer(self, dongle: DongleSection) -> PythonCanWriter:
        from edge_agent.transmit.python_can_writer import PythonCanWriter  # noqa: PLC0415 - memory

        return PythonCanWriter(self._bus, dongle.channel, fd=dongle.fd, come_back=self._come_back)

    def _read(self, timeout_seconds: float) -> FrameBatch:
        self._raise_pending()
        messages: list[can.Message] = []
        message = self._receive(timeout_seconds)
        self._found_empty.reads()
        while message is not None:
            messages.append(message)
            message = self._receive(0) if len(messages) < _MAX_ROWS else None
        if not messages:
            self._raise_pending()
            return empty_batch()
        return self._batch_of(messages)

    def close(self) -> None:
        """Closes the bus, whatever its driver says, when nobody is writing to it."""
        if self._writer is not None:
            self._writer.close()
        with suppress(Exception):  # the device may be gone, which was told when reading failed
            self._bus.shutdown()
        # python-can's slcan leaves a port that is gone open, and then it comes back under a new name.
        port = getattr(self._bus, "serialPortOrig", None)
        if port is not None:
            with suppress(Exception):
                port.close()

    def _raise_pending(self) -> None:
        """What went wrong is told once the frames before it have been handed over."""
        if self._pending is not None:
            raise self._pending

    def _receive(self, timeout_seconds: float) -> can.Message | None:
        looked_ns = self._clock.boottime_ns()
        try:
            message = self._bus.recv(timeout_seconds)
        except (ValueError, LookupError) as error:  # what the driver could not parse
            self._malformed += 1
            self._garbage_in_a_row += 1
            if self._garbage_in_a_row > _MAX_GARBAGE:
                self._pending = read_failure(error, self._interface, self._channel)
            return None
        except Exception as error:  # drivers raise what they like
            self._pending = read_failure(error, self._interface, self._channel)
            return None
        if message is None:
            self._found_empty.empty(looked_ns)
        else:
            self._garbage_in_a_row = 0
        return message

    def _batch_of(self, messages: list[can.Message]) -> FrameBatch:
        rows = [row for message in messages if (row := row_of(message)) is not None]
        self._malformed += len(messages) - len(rows)
        batch = batch_of(rows)
        if not rows:
            return batch
        mapped = self._mapper.map(batch.timestamp_ns, self._clock.wall_ns())
        return FrameBatch(mapped, batch.arbitration_id, batch.flags, batch.length, batch.data)


def row_of(message: can.Message) -> Row | None:
    """(timestamp_ns, arbitration_id, flags, length, data) of a message; None if it is no possible frame."""
    flags = _flags_of(message)
    length, data = int(message.dlc), bytes(message.data or b"")
    wide_id = flags & (FrameFlag.EXTENDED | FrameFlag.ERROR)
    if not 0 <= message.arbitration_id <= (EXTENDED_ID_MASK if wide_id else STANDARD_ID_MASK):
        return None
    if length not in _FD_LENGTHS if message.is_fd else not 0 <= length <= 15:
        return None
    held = 0 if message.is_remote_frame else length if message.is_fd else min(length, 8)
    stamp_seconds = message.timestamp
    if len(data) < held or not abs(stamp_seconds) < _MAX_STAMP_SECONDS:
        return None
    return round(stamp_seconds * 1e6) * 1000, message.arbitration_id, flags, length, data[:held]


def _flags_of(message: can.Message) -> int:
    kind = FrameFlag.ERROR if message.is_error_frame else FrameFlag.EXTENDED if message.is_extended_id else 0
    return int(
        kind
        | (FrameFlag.REMOTE if message.is_remote_frame else 0)
        | (FrameFlag.FD if message.is_fd else 0)
        | (FrameFlag.BRS if message.is_fd and message.bitrate_switch else 0)
        | (FrameFlag.ESI if message.is_fd and message.error_state_indicator else 0)
        | (0 if message.is_rx else FrameFlag.TX)
    )


def bus_arguments(dongle: DongleSection) -> dict[str, Any]:
    """The keyword arguments of `can.Bus` for a dongle; states of pcan and systec still by name."""
    arguments: dict[str, Any] = dict(dongle.options)
    if dongle.bitrate is not None:
        arguments["bitrate"] = dongle.bitrate
    if dongle.fd:
        arguments["fd"] = True
    if dongle.data_bitrate is not None:
        arguments["data_bitrate"] = dongle.data_bitrate
    if dongle.mode == "listen_only" and dongle.interface in LISTEN_ONLY_OPTIONS:
        option, value = LISTEN_ONLY_OPTIONS[dongle.interface]
        arguments[option] = value
    if dongle.mode == "normal" and COME_BACK.get(dongle.interface) == "marked":
        arguments["receive_own_messages"] = True
    return arguments


def _open_bus(dongle: DongleSection) -> can.BusABC:
    import can  # noqa: PLC0415 - 5 MB that an agent with other sources need not hold

    if dongle.interface not in can.VALID_INTERFACES:
        raise unknown_interface(dongle.interface, list(can.VALID_INTERFACES))
    arguments = bus_arguments(dongle)
    if isinstance(state := arguments.get("state"), str) and state in can.BusState.__members__:
        arguments["state"] = can.BusState[state]
    channel: int | str = int(dongle.channel) if dongle.channel.isdecimal() else dongle.channel
    try:
        # ignore_config: what python-can's own files and environment say must not mix with ours.
        return can.Bus(channel, dongle.interface, ignore_config=True, **arguments)
    except Exception as error:  # drivers raise what they like
        raise open_failure(error, dongle.interface, dongle.channel) from error
