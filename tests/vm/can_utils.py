"""can-utils and ip in the guest: a witness of what is on a bus, and what puts it there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal

from tests.helpers.conditions import eventually
from tests.helpers.processes import Argument, Process, run_command

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


class Witness(Process):
    """candump of all that is on a bus, as it comes, also once it was down; it listens once it is made."""

    def __init__(self, bus: str) -> None:
        before = receivers(bus)
        super().__init__(["candump", "-L", "-D", "-r", 1 << 24, f"{bus},0:0,#FFFFFFFF"])
        eventually(lambda: receivers(bus) > before or not self.is_running, f"candump listens to {bus}")

    def seen(self, arbitration_id: int) -> list[tuple[float, int]]:
        """(UTC seconds, number) of each frame of this id so far; `cangen -D i` numbers its frames so."""
        wanted = f"{arbitration_id:03X}#"
        lines = [line.split() for line in self.output.splitlines() if wanted in line]
        return [
            (float(line[0][1:-1]), int.from_bytes(bytes.fromhex(line[2].removeprefix(wanted)), "little"))
            for line in lines
        ]

    def numbers(self, arbitration_id: int) -> list[int]:
        """The numbers alone."""
        return [number for _, number in self.seen(arbitration_id)]


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


def generate(bus: str, arbitration_id: int, gap_milliseconds: int, frames: int | None = None) -> Process:
    """cangen: numbered frames, started; for ever where `frames` does not say how many."""
    command: list[Argument] = ["cangen", bus, "-I", f"{arbitration_id:X}", "-L", 8, "-D", "i"]
    how_many: list[Argument] = [] if frames is None else ["-n", frames]
    return Process([*command, "-g", gap_milliseconds, *how_many])


def reload_vcan(*parameters: str) -> None:
    """The module anew, with all its buses; `echo=1`: they give back themselves what is sent."""
    run_command(["modprobe", "-r", "vcan"])
    run_command(["modprobe", "vcan", *parameters])
    for bus in ("vcan0", "vcan1"):
        run_command(["ip", "link", "add", bus, "type", "vcan"])
        run_command(["ip", "link", "set", bus, "mtu", "72", "up"])
