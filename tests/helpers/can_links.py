"""What the kernel answers about a CAN interface, built from its headers for what no virtual bus can be."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

from edge_agent.host.can_link import CanLink, parse_link

# linux/can/netlink.h, enum can_state
STATES: Final = {
    "error-active": 0, "error-warning": 1, "error-passive": 2, "bus-off": 3, "stopped": 4, "sleeping": 5,
}  # fmt: skip
IFF_UP, IFF_NOARP, IFF_RUNNING, IFF_LOWER_UP = 1, 0x80, 0x40, 0x10000
ARPHRD_CAN: Final = 280
# struct rtnl_link_stats64, in order
STATS: Final = (
    "rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped",
    "multicast", "collisions", "rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors",
    "rx_fifo_errors", "rx_missed_errors", "tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors",
    "tx_heartbeat_errors", "tx_window_errors", "rx_compressed", "tx_compressed", "rx_nohandler",
    "rx_otherhost_dropped",
)  # fmt: skip


def attribute(kind: int, content: bytes, nested: bool = False) -> bytes:
    """struct nlattr with its content, padded to 4 bytes."""
    head = struct.pack("=HH", 4 + len(content), kind | (0x8000 if nested else 0))
    return head + content + b"\0" * (-len(content) % 4)


def message(kind: int, body: bytes) -> bytes:
    """struct nlmsghdr with its body."""
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 4711) + body


def refusal(number: int) -> bytes:
    """NLMSG_ERROR, with the request that it refuses."""
    return message(2, struct.pack("=i", -number) + struct.pack("=IHHII", 32, 18, 1, 1, 0))


def bit_timing(bitrate: int, sample_point: int) -> bytes:
    """struct can_bittiming"""
    return struct.pack("=8I", bitrate, sample_point, 125, 6, 7, 2, 1, 1)


def link_answer(
    name: str = "can0",
    kind: str = "can",
    info_data: bytes = b"",
    statistics: tuple[int, int, int, int, int, int] | None = None,
    counters: Mapping[str, int] | None = None,
    index: int = 3,
    flags: int = IFF_UP | IFF_NOARP | IFF_RUNNING | IFF_LOWER_UP,
    mtu: int = 16,
) -> bytes:
    """RTM_NEWLINK of a CAN interface, with attributes beside ours in between as kernels have them."""
    info = attribute(1, kind.encode() + b"\0") if kind else b""
    if statistics is not None:
        info += attribute(3, struct.pack("=6I", *statistics))
    if info_data:
        info += attribute(2, info_data, nested=True)
    values = [(counters or {}).get(one, 0) for one in STATS]
    body = struct.pack("=BBHiII", 0, 0, ARPHRD_CAN, index, flags, 0)
    body += attribute(3, name.encode() + b"\0") + attribute(13, struct.pack("=I", 10))
    body += attribute(16, b"\6") + attribute(4, struct.pack("=I", mtu)) + attribute(6, b"pfifo_fast\0")
    body += attribute(23, struct.pack("=25Q", *values))
    body += attribute(18, info, nested=True) if info else b""
    return message(16, body)


def controller_data(
    state: str = "error-active",
    bitrate: int = 500_000,
    sample_point: int = 875,
    modes: int = 0,
    restart_ms: int = 0,
    berr: tuple[int, int] | None = (0, 0),
    data_bitrate: int | None = None,
) -> bytes:
    """The IFLA_CAN_* of a real controller, in the order in which can_fill_info writes them."""
    data = attribute(1, bit_timing(bitrate, sample_point))
    data += attribute(2, b"mcp251xfd".ljust(16, b"\0") + struct.pack("=8I", 2, 256, 1, 128, 128, 1, 256, 1))
    data += attribute(3, struct.pack("=I", 40_000_000)) + attribute(4, struct.pack("=I", STATES[state]))
    data += attribute(5, struct.pack("=II", 0, modes)) + attribute(6, struct.pack("=I", restart_ms))
    if berr is not None:
        data += attribute(8, struct.pack("=HH", *berr))
    if data_bitrate is not None:
        data += attribute(9, bit_timing(data_bitrate, 750))
    return data


def controller_link(
    counters: Mapping[str, int] | None = None,
    statistics: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0),
    index: int = 3,
    mtu: int = 16,
    **changes: Any,
) -> CanLink:
    """can0 as a real controller, by way of the kernel's answer; `changes` of `controller_data`."""
    data = controller_data(**changes)
    link = parse_link(
        link_answer(info_data=data, statistics=statistics, counters=counters, index=index, mtu=mtu)
    )
    assert link is not None
    return link


def virtual_link(counters: Mapping[str, int] | None = None, **changes: Any) -> CanLink:
    """vcan0, by way of the kernel's answer; `changes` of `link_answer`."""
    link = parse_link(link_answer("vcan0", "vcan", counters=counters, **changes))
    assert link is not None
    return link
