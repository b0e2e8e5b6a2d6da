"""What the kernel says of links, addresses and routes, as bytes of rtnetlink."""

from __future__ import annotations

import socket
import struct
from typing import Final

from tests.helpers.can_links import attribute, message

NEWLINK: Final = 16
DELLINK: Final = 17
NEWADDR: Final = 20
DELADDR: Final = 21
NEWROUTE: Final = 24
DELROUTE: Final = 25


def link(index: int = 2, *, has_carrier: bool = True, hardware: int = 1, kind: int = NEWLINK) -> bytes:
    """An interface; Ethernet where `hardware` says nothing else."""
    flags = 1 | (1 << 16 if has_carrier else 0)
    return message(kind, struct.pack("=BxHiII", 0, hardware, index, flags, 0))


def address(
    text: str = "192.0.2.7",
    *,
    index: int = 2,
    flags: int = 0,
    scope: int = 0,
    life: int = 60,
    kind: int = NEWADDR,
) -> bytes:
    """An address of an interface; `life` is what a router says anew again and again."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    packed = socket.inet_pton(family, text)
    body = struct.pack("=BBBBi", family, 24, flags, scope, index)
    return message(kind, body + attribute(1, packed) + attribute(6, struct.pack("=IIII", life, life, 0, 0)))


def route(
    gateway: str = "192.0.2.1", *, oif: int = 2, table: int = 254, route_type: int = 1, flags: int = 0,
    kind: int = NEWROUTE,
) -> bytes:  # fmt: skip
    """A default route."""
    family = socket.AF_INET6 if ":" in gateway else socket.AF_INET
    body = struct.pack("=8BI", family, 0, 0, 0, table, 3, 0, route_type, flags)
    attributes = attribute(4, struct.pack("=i", oif)) + attribute(5, socket.inet_pton(family, gateway))
    return message(kind, body + attributes)
