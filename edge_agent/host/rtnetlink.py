"""What rtnetlink says of a CAN interface: the request, and the answer as a `CanLink`.

Layouts: rtnetlink(7), linux/if_link.h, linux/can/netlink.h.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from edge_agent.errors import LinkError

_NLMSG_ERROR: Final = 2
_NLM_F_REQUEST: Final = 1
RTM_NEWLINK: Final = 16
_RTM_GETLINK: Final = 18
ARPHRD_CAN: Final = 280
_IFF_UP: Final = 1
IFF_LOWER_UP: Final = 1 << 16
_IFF_ECHO: Final = 1 << 18
MAX_NAME_BYTES: Final = 15

HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr
LINK: Final = struct.Struct("=BxHiII")  # struct ifinfomsg
_ATTRIBUTE: Final = struct.Struct("=HH")  # struct nlattr
_TYPE_MASK: Final = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_TXQLEN: Final = 13
_IFLA_LINKINFO: Final = 18
_IFLA_STATS64: Final = 23
_IFLA_INFO_KIND: Final = 1
_IFLA_INFO_DATA: Final = 2
_IFLA_INFO_XSTATS: Final = 3
_IFLA_CAN_BITTIMING: Final = 1
_IFLA_CAN_STATE: Final = 4
_IFLA_CAN_CTRLMODE: Final = 5
_IFLA_CAN_RESTART_MS: Final = 6
_IFLA_CAN_BERR_COUNTER: Final = 8
_IFLA_CAN_DATA_BITTIMING: Final = 9
_CTRLMODE_LOOPBACK: Final = 0x01
_CTRLMODE_LISTENONLY: Final = 0x02
_CTRLMODE_FD: Final = 0x20
_CANFD_MTU: Final = 72

# enum can_state
STATES: Final = ("error-active", "error-warning", "error-passive", "bus-off", "stopped", "sleeping")


class DeviceStatistics(Struct, frozen=True):
    """How often each happened since the device is there: struct can_device_stats."""

    bus_error: int
    error_warning: int
    error_passive: int
    bus_off: int
    arbitration_lost: int
    restarts: int


class InterfaceCounters(Struct, frozen=True):
    """Since the interface is there: the beginning of struct rtnl_link_stats64.

    On virtual buses `rx_packets` has what programs of this machine have sent.
    """

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int
    rx_over_errors: int
    rx_fifo_errors: int
    rx_missed_errors: int


class CanLink(Struct, frozen=True):
    """A CAN interface at one moment; None is what its driver does not tell.

    `index` is the kernel's number of it, another one after it was unplugged and plugged in again. `kind` is
    can (real controllers), vcan, vxcan, ..., or "" where the driver names none. `state` is one of `STATES`
    (or "unknown"), None without a controller. `fd`: it carries CAN FD frames. `tx_errors`, `rx_errors`: the
    controller's error counters (ISO 11898-1), None where the driver does not read them. `echoes`: the driver
    itself gives back what is sent, once it is on the bus; without this flag (IFF_ECHO) the kernel makes the
    echo when a frame is queued.
    """

    channel: str
    index: int
    kind: str
    is_up: bool
    has_carrier: bool
    mtu_bytes: int
    tx_queue_length: int
    fd: bool
    counters: InterfaceCounters
    listen_only: bool = False
    loopback: bool = False
    state: str | None = None
    bitrate: int | None = None
    sample_point_permille: int | None = None
    data_bitrate: int | None = None
    restart_ms: int | None = None
    tx_errors: int | None = None
    rx_errors: int | None = None
    statistics: DeviceStatistics | None = None
    echoes: bool = False

    @property
    def has_controller(self) -> bool:
        """False for virtual buses: they have neither a bit rate nor a state."""
        return self.state is not None


def link_request(name: bytes) -> bytes:
    """The request for the interface of this name."""
    length = _ATTRIBUTE.size + len(name) + 1
    attribute = _ATTRIBUTE.pack(length, _IFLA_IFNAME) + name + b"\0" * (1 + -length % 4)
    body = LINK.pack(0, 0, 0, 0, 0) + attribute
    return HEADER.pack(HEADER.size + len(body), _RTM_GETLINK, _NLM_F_REQUEST, 1, 0) + body


def parse_link(answer: bytes) -> CanLink | None:
    """The CAN interface that the kernel's answer describes; None where it says that there is none.

    Raises LinkError for whatever else it says, and for bytes that are no answer.
    """
    length, kind, _, _, _ = unpack(HEADER, answer, "message")
    if not HEADER.size <= length <= len(answer):
        raise LinkError(f"an answer of {length} bytes, {len(answer)} of which are there")
    body = answer[HEADER.size : length]
    if kind == _NLMSG_ERROR:
        _check_is_missing(body)
        return None
    if kind != RTM_NEWLINK:
        raise LinkError(f"an answer of type {kind}")
    _, hardware, index, flags, _ = unpack(LINK, body, "interface")
    attributes = attributes_of(body[LINK.size :])
    if hardware != ARPHRD_CAN:
        raise LinkError(f"{_text(attributes, _IFLA_IFNAME)} is no CAN interface")
    return _can_link(index, flags, attributes)


def _can_link(index: int, flags: int, attributes: Mapping[int, bytes]) -> CanLink:
    info = attributes_of(attributes.get(_IFLA_LINKINFO, b""))
    kind = _text(info, _IFLA_INFO_KIND)
    # Only the driver model of real controllers fills it with IFLA_CAN_*: that of vxcan has other numbers.
    data = attributes_of(info.get(_IFLA_INFO_DATA, b"")) if kind == "can" else {}
    (state,) = _numbers(data, _IFLA_CAN_STATE, "=I")
    (restart_ms,) = _numbers(data, _IFLA_CAN_RESTART_MS, "=I")
    _, modes = _numbers(data, _IFLA_CAN_CTRLMODE, "=II")
    bitrate, sample_point = _numbers(data, _IFLA_CAN_BITTIMING, "=II")
    data_bitrate, _ = _numbers(data, _IFLA_CAN_DATA_BITTIMING, "=II")
    tx_errors, rx_errors = _numbers(data, _IFLA_CAN_BERR_COUNTER, "=HH")
    mtu_bytes = _numbers(attributes, _IFLA_MTU, "=I")[0] or 0
    modes = modes or 0
    return CanLink(
        channel=_text(attributes, _IFLA_IFNAME),
        index=index,
        kind=kind,
        is_up=bool(flags & _IFF_UP),
        has_carrier=bool(flags & IFF_LOWER_UP),
        mtu_bytes=mtu_bytes,
        tx_queue_length=_numbers(attributes, _IFLA_TXQLEN, "=I")[0] or 0,
        fd=bool(modes & _CTRLMODE_FD) if data else mtu_bytes >= _CANFD_MTU,
        counters=_counters(attributes),
        listen_only=bool(modes & _CTRLMODE_LISTENONLY),
        loopback=bool(modes & _CTRLMODE_LOOPBACK),
        state=_state_name(state),
        bitrate=bitrate or None,
        sample_point_permille=sample_point or None,
        data_bitrate=data_bitrate or None,
        restart_ms=restart_ms,
        tx_errors=tx_errors,
        rx_errors=rx_errors,
        statistics=_statistics(info) if kind == "can" else None,
        echoes=bool(flags & _IFF_ECHO),
    )


def _counters(attributes: Mapping[int, bytes]) -> InterfaceCounters:
    numbers = [number or 0 for number in _numbers(attributes, _IFLA_STATS64, "=16Q")]
    rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped = numbers[:8]
    _, over, _, _, fifo, missed = numbers[10:]
    return InterfaceCounters(
        rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped,
        rx_over_errors=over, rx_fifo_errors=fifo, rx_missed_errors=missed,
    )  # fmt: skip


def _statistics(info: Mapping[int, bytes]) -> DeviceStatistics | None:
    numbers = [number for number in _numbers(info, _IFLA_INFO_XSTATS, "=6I") if number is not None]
    return DeviceStatistics(*numbers) if numbers else None


def _state_name(state: int | None) -> str | None:
    if state is None:
        return None
    return STATES[state] if state < len(STATES) else "unknown"


def _check_is_missing(body: bytes) -> None:
    """Raises LinkError where the reason of a NLMSG_ERROR is another than that there is no such interface."""
    (number,) = unpack(struct.Struct("=i"), body, "error")
    if -number not in (errno.ENODEV, errno.ENXIO):
        raise LinkError(f"the kernel refuses to tell: {errno.errorcode.get(-number, number)}")


def attributes_of(data: bytes) -> dict[int, bytes]:
    """Type to content of each attribute in `data`. Raises LinkError."""
    found: dict[int, bytes] = {}
    while data:
        length, kind = unpack(_ATTRIBUTE, data, "attribute")
        if not _ATTRIBUTE.size <= length <= len(data):
            raise LinkError(f"an attribute of {length} bytes where {len(data)} are left")
        found[kind & _TYPE_MASK] = data[_ATTRIBUTE.size : length]
        data = data[length + -length % 4 :]
    return found


def _numbers(attributes: Mapping[int, bytes], kind: int, layout: str) -> tuple[int | None, ...]:
    """The numbers at the beginning of an attribute; None for all where it is not there. Raises LinkError."""
    wanted = struct.Struct(layout)
    if kind not in attributes:
        return (None,) * len(wanted.unpack(bytes(wanted.size)))
    return unpack(wanted, attributes[kind], f"attribute {kind}")


def _text(attributes: Mapping[int, bytes], kind: int) -> str:
    content = attributes.get(kind, b"").split(b"\0", 1)[0]
    return content[:MAX_NAME_BYTES].decode("utf-8", "replace")


def unpack(layout: struct.Struct, data: bytes, what: str) -> tuple[int, ...]:
    """The numbers at the beginning of `data`, which is called `what`. Raises LinkError."""
    if len(data) < layout.size:
        raise LinkError(f"{what}: {len(data)} bytes instead of {layout.size}")
    return layout.unpack_from(data)
