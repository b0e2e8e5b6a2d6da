"""A serial port with an slcan adapter behind it: opened for us alone, read in bulk, asked and answered."""

from __future__ import annotations

import errno
import os
import re
import select
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import serial

from edge_agent.bus.driver_errors import open_failure, read_failure
from edge_agent.bus.source import FoundEmpty
from edge_agent.errors import SourceError
from edge_agent.host.clock import Clock
from edge_agent.transmit.writer import write_failure

_READ_BYTES: Final = 65_536
_MAX_READS: Final = 64
_WRITE_TIMEOUT_SECONDS: Final = 1.0
_MAX_HELD_BYTES: Final = 1 << 20
_BUSY: Final = frozenset({errno.EBUSY, errno.EAGAIN})


class SlcanPort:
    """An opened serial port. The constructor opens it and raises SourceError."""

    def __init__(self, channel: str, serial_baudrate: int, clock: Clock) -> None:
        self._channel = channel
        self._clock = clock
        self._held = b""
        self._gone: BaseException | None = None
        self.found_empty = FoundEmpty()
        try:
            self._port = serial.Serial(
                channel, serial_baudrate, timeout=0, write_timeout=_WRITE_TIMEOUT_SECONDS, exclusive=True
            )
        except (OSError, ValueError) as error:
            raise _open_failure(error, channel) from error
        with suppress(OSError, ValueError, NotImplementedError):  # only some drivers of UARTs have it
            self._port.set_low_latency_mode(True)
        self._poll = select.poll()
        self._poll.register(self._port.fileno(), select.POLLIN)

    def read(self, timeout_seconds: float) -> bytes:
        """All that is there: waits for the first byte only, and maybe in vain. Raises SourceError.

        That the port has gone is said once what came before has been read.
        """
        pieces, self._held = [self._held], b""
        if pieces[0]:  # it was there before the last look
            self.found_empty.empty(0)
        wait_ms = 0.0 if pieces[0] or self._is_there() else timeout_seconds * 1000
        self.found_empty.reads()
        for _ in range(_MAX_READS):
            if self._gone is not None or not (self._poll.poll(wait_ms) if wait_ms else self._is_there()):
                break
            pieces.append(self._read_piece())
            wait_ms = 0.0
        received = b"".join(pieces)
        if not received and self._gone is not None:
            raise read_failure(self._gone, "slcan", self._channel) from self._gone
        return received

    def write(self, command: str) -> None:
        """Sends a command. Raises SourceError."""
        try:
            self._port.write(command.encode("ascii") + b"\r")
        except OSError as error:  # those of pyserial are of this kind
            raise read_failure(error, "slcan", self._channel) from error

    def put(self, content: bytes) -> int:
        """How many of these bytes there is room for; it does not wait. Raises SourceError."""
        try:
            return os.write(self._port.fileno(), content) if content else 0
        except BlockingIOError:
            return 0
        except OSError as error:
            raise write_failure(error.strerror or str(error), self._channel) from error

    def ask(self, command: str, answer: re.Pattern[bytes], timeout_seconds: float) -> re.Match[bytes] | None:
        """Sends a command; its answer, or None after silence. Raises SourceError.

        What comes beside the answer is read later.
        """
        self.write(command)
        until_seconds = self._clock.monotonic_seconds() + timeout_seconds
        held = self._held
        while (found := answer.search(held)) is None:
            left_seconds = until_seconds - self._clock.monotonic_seconds()
            if left_seconds <= 0 or len(held) > _MAX_HELD_BYTES:
                self._held = held
                return None
            self._held = b""
            held += self.read(left_seconds)
        self._held = held[: found.start()] + held[found.end() :]
        return found

    def discard(self, quiet_seconds: float) -> None:
        """Drops what is there and what still comes until it is quiet, within reason. Raises SourceError."""
        for _ in range(_MAX_READS):
            if not self.read(quiet_seconds):
                return

    def close(self) -> None:
        """Closes the port, gone or not."""
        with suppress(OSError):
            self._port.close()

    def _is_there(self) -> bool:
        looked_ns = self._clock.boottime_ns()
        if self._poll.poll(0):
            return True
        self.found_empty.empty(looked_ns)
        return False

    def _read_piece(self) -> bytes:
        try:
            piece = os.read(self._port.fileno(), _READ_BYTES)
        except OSError as error:
            self._gone = error
            return b""
        if not piece:  # poll said that there is something
            self._gone = OSError(errno.EIO, "the adapter is gone")
        return piece


def _open_failure(error: BaseException, channel: str) -> SourceError:
    if getattr(error, "errno", None) not in _BUSY:
        return open_failure(error, "slcan", channel)
    users = ", ".join(users_of(channel))
    remedy = f"stop {users}" if users else "stop the other program that uses it; ModemManager tries new ports"
    return SourceError("BUSY", f"{channel} is in use", remedy)


def users_of(channel: str) -> Iterator[str]:
    """Programs that have the port open, as far as this process may know."""
    target = os.path.realpath(channel)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(os.path.realpath(opened) == target for opened in (process / "fd").iterdir()):
                yield f"{(process / 'comm').read_text('ascii', 'replace').strip()} (process {process.name})"
