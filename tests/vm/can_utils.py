"""can-utils and ip in the guest: a witness of what is on a bus, and what puts it there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

from tests.helpers.conditions import eventually
from tests.helpers.processes import Process, run_command

# Standard, extended, remote, FD, empty; and an error frame, of a bus error with a protocol violation.
EVERY_KIND: Final = (
    "123#DEADBEEF",
    "1F334455#1122334455667788",
    "7E8#R4",
    "213##3" + "11" * 64,
    "7FF#",
    "20000088#0000080000000000",
)
_RECEIVERS: Final = Path("/proc/net/can/rcvlist_err")
_CANFD_FDF: Final = 0x4


class Candump(Process):
    """candump of `frames` frames, error frames too, in a log's format; it listens once it is made."""

    def __init__(self, bus: str, frames: int) -> None:
        before = receivers(bus)
        super().__init__(["candump", "-L", "-r", 1 << 24, "-n", frames, f"{bus},0:0,#FFFFFFFF"])
        eventually(lambda: receivers(bus) > before or not self.is_running, f"candump listens to {bus}")

    def lines(self) -> list[str]:
        """What it has seen, once that is all. ProcessError."""
        if self.wait():
            raise self.failure("candump failed")
        return [without_kernel_flag(line) for line in self.output.splitlines()]


def receivers(bus: str) -> int:
    """How many sockets ask for this bus's error frames."""
    return len(re.findall(rf"^ +{bus} ", _RECEIVERS.read_text(), re.MULTILINE))


def without_kernel_flag(line: str) -> str:
    """A line of candump without the flag that says FD once more, which kernels from 6.1 on set."""
    head, mark, tail = line.partition("##")
    return f"{head}{mark}{int(tail[0], 16) & ~_CANFD_FDF:X}{tail[1:]}" if mark else line


def send(bus: str, *frames: str) -> None:
    """cansend, for one frame after the other."""
    for frame in frames:
        run_command(["cansend", bus, frame])


def play(log: Path, bus: str, channel: str = "can0") -> None:
    """canplayer: the frames of a log, at the log's pace."""
    run_command(["canplayer", "-I", log, f"{bus}={channel}"])


def set_link(bus: str, state: Literal["up", "down"]) -> None:
    """`ip link set`."""
    run_command(["ip", "link", "set", bus, state])
