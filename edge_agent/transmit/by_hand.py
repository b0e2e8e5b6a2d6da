"""What a user may put on a bus by hand: not on one that an agent only listens to, or relays."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct


class ReadBus(Struct, frozen=True):
    """A bus that an agent of this machine reads, by what `told_by` says. `mode` "": it does not say how.

    `relayed`: whether it is in an active group, so that what is put there by hand meets what comes from the
    other side, and may go there too.
    """

    told_by: str
    dongle_id: str
    interface: str
    channel: str
    mode: str
    relayed: bool = False

    def is_at(self, interface: str, channel: str) -> bool:
        """Whether it is this bus. A serial port is the same one for every driver."""
        same_driver = self.interface == interface or channel.startswith("/")
        return same_driver and self.channel == channel


def refusal(interface: str, channel: str, buses: Iterable[ReadBus]) -> str | None:
    """Why nothing is sent there by hand, and what to do; None where nobody minds."""
    for bus in buses:
        if bus.is_at(interface, channel) and bus.mode != "normal":
            how = f'mode = "{bus.mode}"' if bus.mode else "and does not say in which mode"
            return (
                f"nothing is sent to {interface}:{channel}: {bus.told_by} has it as {bus.dongle_id}, {how}. "
                'Set `mode = "normal"` there where this bus may be sent to, or give --force'
            )
        if bus.is_at(interface, channel) and bus.relayed:
            return (
                f"nothing is sent to {interface}:{channel}: {bus.told_by} has it as {bus.dongle_id}, "
                "which is in an active group. Have the group deactivated first, or give --force"
            )
    return None
