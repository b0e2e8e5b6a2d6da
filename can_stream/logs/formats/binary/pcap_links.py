"""What the interfaces of a capture are, and where in their packets a CAN frame lies.

Source: tcpdump.org, link types.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

SOCKETCAN: Final = 227
COOKED: Final = 113
COOKED_2: Final = 276
_CAN_PROTOCOLS: Final = (0x000C, 0x000D, 0x000E)
_SENT: Final = 4
_NAMES: Final = {
    1: "Ethernet",
    101: "IP",
    105: "Wi-Fi",
    127: "Wi-Fi",
    187: "Bluetooth",
    189: "USB",
    190: "CAN 2.0B of an old kind",
    201: "Bluetooth",
    212: "LIN",
    220: "USB",
    228: "IP",
    229: "IP",
    249: "USB",
}


class Interface(Struct, frozen=True):
    """`link_type` as tcpdump.org numbers them; a second has `units`, times count from `offset` seconds.

    `most`: of how many bytes of a packet no more are captured.
    """

    link_type: int
    channel: str
    units: int = 1_000_000
    offset: int = 0
    most: int = 2**32 - 1

    @property
    def has_can(self) -> bool:
        """Whether its packets may be CAN frames."""
        return self.link_type in (SOCKETCAN, COOKED, COOKED_2)


def link_name(link_type: int) -> str:
    """What is captured on an interface that has no CAN."""
    return _NAMES.get(link_type, f"link type {link_type}")


class CanPart(Struct, frozen=True):
    """Where in a packet the frame begins; `bus`: the system's number of its interface, where it has it."""

    begin: int
    is_sent: bool = False
    is_cooked: bool = False
    bus: int | None = None


def can_part(link_type: int, head: bytes) -> CanPart | None:
    """The CAN frame of a packet that begins with `head`, None where it has none.

    Behind the header of "Linux cooked" packets identifiers have the byte order of the capturing machine.
    """
    if link_type == SOCKETCAN:
        return CanPart(0)
    if link_type == COOKED and int.from_bytes(head[14:16]) in _CAN_PROTOCOLS:
        return CanPart(16, int.from_bytes(head[0:2]) == _SENT, is_cooked=True)
    if link_type == COOKED_2 and int.from_bytes(head[0:2]) in _CAN_PROTOCOLS:
        return CanPart(20, head[10:11] == bytes([_SENT]), is_cooked=True, bus=int.from_bytes(head[4:8]))
    return None
