"""What a user may put on a bus by hand: not what an agent of this machine is told to listen to alone."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct


class ReadBus(Struct, frozen=True):
    """A bus that an agent of this machine reads, by what `told_by` says. `mode` "": it does not say how."""

    told_by: str
    dongle_id: str
    interface: str
    channel: str
    mode: str

    def is_at(self, interface: str, channel: str) -> bool:
        """Whether it is this bus. A serial port is the same one for every driver."""
        same_driver = self.interface == interface or channel.startswith("/")
        return same_driver and self.channel == channel


def refusal(interface: str, channel: str, buses: Iterable[ReadBus]) -> str | None:
    """Why nothing is sent there, and what to do; None where nobody has said that it is for listening."""
    for bus in buses:
        if bus.is_at(interface, channel) and bus.mode != "normal":
            how = f'mode = "{bus.mode}"' if bus.mode else "and does not say in which mode"
            return (
                f"nothing is sent to {interface}:{channel}: {bus.told_by} has it as {bus.dongle_id}, {how}. "
                'Set `mode = "normal"` there where this bus may be sent to, or give --force'
            )
    return None
