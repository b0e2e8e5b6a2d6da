"""A CAN interface with a controller's states, made by the kernel's slcan driver of a pseudo terminal.

What the adapter says is the driver's documentation: drivers/net/can/slcan/slcan-core.c.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import threading
import tty
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from tests.helpers.processes import run_command

_TIOCSETD: Final = 0x5423
_N_SLCAN: Final = 17
_SIOCGIFNAME: Final = 0x8910


class KernelSlcan:
    """The interface `name`, down, as long as the context lasts.

    `commands`: what the kernel told the adapter.
    """

    def __init__(self) -> None:
        run_command(["modprobe", "slcan"])
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        fcntl.ioctl(self._theirs, _TIOCSETD, struct.pack("=i", _N_SLCAN))
        self.name = fcntl.ioctl(self._theirs, _SIOCGIFNAME, bytes(16)).split(b"\0")[0].decode()
        self.commands = b""
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._theirs)
        os.close(self._ours)

    def set_up(self, *type_arguments: str) -> None:
        """`ip link set`, after which it is up."""
        run_command(["ip", "link", "set", self.name, "down"])
        run_command(["ip", "link", "set", self.name, "type", "can", *type_arguments])
        run_command(["ip", "link", "set", self.name, "up"])

    def say(self, line: str) -> None:
        """The adapter says a line: a frame, `sp130120` (error-passive), `e1o` (overrun)..."""
        os.write(self._ours, line.encode() + b"\r")

    def _listen(self) -> None:
        with suppress(OSError):
            while heard := os.read(self._ours, 4096):
                self.commands += heard
