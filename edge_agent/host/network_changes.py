"""Which of the kernel's news say that there may be another way to the network.

Layouts: rtnetlink(7), linux/rtnetlink.h, linux/if_addr.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from edge_agent.errors import LinkError
from edge_agent.host.rtnetlink import (
    ARPHRD_CAN,
    HEADER,
    IFF_LOWER_UP,
    LINK,
    RTM_NEWLINK,
    attributes_of,
    unpack,
)

_RTM_DELLINK: Final = 17
_RTM_NEWADDR: Final = 20
_RTM_DELADDR: Final = 21
_RTM_NEWROUTE: Final = 24
_RTM_DELROUTE: Final = 25
_NO_WAY: Final = frozenset({ARPHRD_CAN, 772})  # and ARPHRD_LOOPBACK
_ADDRESS: Final = struct.Struct("=BBBBi")  # struct ifaddrmsg
_ROUTE: Final = struct.Struct("=8BI")  # struct rtmsg
# Not usable yet or not at all, or good for neighbours only.
_IFA_F_TENTATIVE: Final = 0x40
_IFA_F_DADFAILED: Final = 0x08
_RT_SCOPE_LINK: Final = 253
_RTN_UNICAST: Final = 1
_RTM_F_CLONED: Final = 0x200
_RT_TABLE_LOCAL: Final = 255
# What tells one from another: not how long it lives, which a router says anew every few minutes.
_OF_ADDRESS: Final = (1, 2)  # IFA_ADDRESS, IFA_LOCAL
_OF_ROUTE: Final = (1, 4, 5, 6, 7, 9)  # RTA_DST, OIF, GATEWAY, PRIORITY, PREFSRC, MULTIPATH
MAX_KNOWN: Final = 1024

_Way = tuple[object, ...]


class NetworkChanges:
    """Keeps what is known already, so that what the kernel only repeats is no news."""

    def __init__(self) -> None:
        self._known: set[_Way] = set()

    def take(self, datagram: bytes) -> bool:
        """Whether a route, an address or a carrier has appeared. LinkError for bytes that are no news."""
        has_news = False
        for kind, body in _messages(datagram):
            if _is_end(kind, body):
                # With an address or a carrier other things go that the kernel does not name.
                self._known.clear()
                continue
            way = _way(kind, body)
            if way is not None and way not in self._known:
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known.add(way)
                has_news = True
        return has_news


def _messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    while datagram:
        length, kind, _, _, _ = unpack(HEADER, datagram, "message")
        if not HEADER.size <= length <= len(datagram):
            raise LinkError(f"a message of {length} bytes, {len(datagram)} of which are there")
        yield kind, datagram[HEADER.size : length]
        datagram = datagram[length + -length % 4 :]


def _is_end(kind: int, body: bytes) -> bool:
    """Whether a message says that something is gone, or a link without a carrier."""
    if kind in (RTM_NEWLINK, _RTM_DELLINK):
        _, hardware, _, flags, _ = unpack(LINK, body, "interface")
        return hardware not in _NO_WAY and (kind == _RTM_DELLINK or not flags & IFF_LOWER_UP)
    return kind in (_RTM_DELADDR, _RTM_DELROUTE)


def _way(kind: int, body: bytes) -> _Way | None:
    """What a message says is there; None for what leads nowhere."""
    if kind == RTM_NEWLINK:
        _, hardware, index, flags, _ = unpack(LINK, body, "interface")
        return (kind, index) if flags & IFF_LOWER_UP and hardware not in _NO_WAY else None
    if kind == _RTM_NEWADDR:
        family, prefix, flags, scope, index = unpack(_ADDRESS, body, "address")
        if flags & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED) or scope >= _RT_SCOPE_LINK:
            return None
        return kind, family, prefix, index, *_named(attributes_of(body[_ADDRESS.size :]), _OF_ADDRESS)
    if kind == _RTM_NEWROUTE:
        family, prefix, _, _, table, _, _, route_type, flags = unpack(_ROUTE, body, "route")
        if route_type != _RTN_UNICAST or flags & _RTM_F_CLONED or table == _RT_TABLE_LOCAL:
            return None
        return kind, family, prefix, table, *_named(attributes_of(body[_ROUTE.size :]), _OF_ROUTE)
    return None


def _named(attributes: Mapping[int, bytes], names: tuple[int, ...]) -> Iterator[bytes | None]:
    return (attributes.get(name) for name in names)
