"""Captures of CAN interfaces: pcap in both byte orders, with micro- or nanoseconds, and pcapng.

Public sources: tcpdump.org (link types; the manual page pcap-savefile) and the IETF's drafts on pcap and
pcapng. Times are UTC.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import PurePath
from typing import Final

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from can_stream.errors import LineError, LogError
from can_stream.logs.formats.beginnings import (
    PCAP_MAGICS,
    PCAP_MICROSECONDS,
    PCAP_NANOSECONDS,
    PCAPNG_SECTION,
)
from can_stream.logs.formats.binary.pcap_frames import (
    MAX_PACKET_BYTES,
    REASONS,
    RECORD_BYTES,
    XL_FRAMES,
    PacketList,
    Packets,
    even_packets,
    frames_of,
)
from can_stream.logs.formats.binary.pcap_links import SOCKETCAN, Interface, can_part, link_name
from can_stream.logs.formats.binary.pcapng_blocks import (
    DESCRIPTION,
    HEAD_BYTES,
    MAX_BLOCK_BYTES,
    PACKETS,
    block_name,
    byte_order,
    interface_of,
    packet_of,
)
from can_stream.logs.forward_bytes import ForwardBytes
from can_stream.logs.log_blocks import (
    BLOCK_BYTES,
    MAX_CHANNELS,
    MAX_PROBLEMS,
    NS_PER_SECOND,
    ChannelNames,
    Fault,
    LogBatch,
    ParsedBlock,
    empty_log_batch,
)

_ORDERS: Final = {
    struct.pack(f"{order}L", number): (order, units)
    for number, units in ((PCAP_MICROSECONDS, 1_000_000), (PCAP_NANOSECONDS, NS_PER_SECOND))
    for order in "<>"
}
_FILE_HEAD_BYTES: Final = 24
# Above it stand how many bytes of a check sum each packet has, and whether that is known.
_LINK_TYPE: Final = 0x03FF_FFFF
_MAX_INTERFACES: Final = 4096
_LATEST_NS: Final = 2**63 - 1
# An interface of a pcapng whose description cannot be read.
_UNREADABLE: Final = Interface(-1, "")
_REMEDY: Final = "capture on a CAN interface, as in `tcpdump -i can0 -w drive.pcap`"


class _Piece(Struct):
    """What was found in the bytes that were there, not yet as frames."""

    packets: PacketList = field(default_factory=PacketList)
    others: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    unreadable: int = 0
    items: int = 0

    def other(self, kind: str) -> None:
        self.items += 1
        self.others[kind] += 1

    def fault(self, reason: str, offset: int) -> None:
        self.items += 1
        self.unreadable += 1
        if len(self.faults) < MAX_PROBLEMS:
            self.faults.append(Fault(None, reason, offset=offset))


class PcapLog:
    """A `LogSource` of pcap and pcapng. Raises `LogError` for what is none, or no capture of CAN."""

    def __init__(self, path: PurePath, read: Callable[[int], bytes], block_bytes: int = BLOCK_BYTES) -> None:
        self._bytes: Final = ForwardBytes(read, block_bytes)
        self._names: Final = ChannelNames()
        self._buses: Final[dict[int, str]] = {}
        self._interfaces: list[Interface] = []
        self._order, self._is_ng, self._latest = "<", False, 0
        self._has_can = False
        # What is there of the file, while it is looked at.
        self._content = b""
        self._bytes.need(_FILE_HEAD_BYTES)
        head = self._bytes.peek(_FILE_HEAD_BYTES)
        if head and not any(head[:4] == magic[: len(head)] for magic in PCAP_MAGICS):
            raise LogError(path, "not a capture (pcap or pcapng)")
        self._is_ng = head.startswith(PCAPNG_SECTION)
        if not self._is_ng and len(head) >= _FILE_HEAD_BYTES:
            try:
                self._take_file_head(head)
            except LineError as error:
                raise LogError(path, error.reason) from None

    @property
    def channels(self) -> list[str]:
        """Channel names in order of first appearance: interfaces' names, where the file has them."""
        return self._names.names

    def blocks(self) -> Iterator[ParsedBlock]:
        """A block for what each read gives."""
        stop: str | None = None
        if not self._is_ng and self._bytes.available:
            stop = None if self._bytes.need(_FILE_HEAD_BYTES) else "its header"
            self._bytes.drop(0 if stop else _FILE_HEAD_BYTES)
        record = self._block_at if self._is_ng else self._record_at
        while stop is None:
            yield from self._even()
            self._content = self._bytes.peek(self._bytes.available)
            piece, used, damage = _Piece(), 0, None
            try:
                while size := record(piece, used):
                    used += size
            except LineError as error:
                damage = f"{error.reason}: nothing behind it is read"
                piece.fault(damage, self._bytes.offset + used)
            if piece.items:
                yield replace(self._parsed(piece, piece.packets.packets()), is_cut=damage is not None)
            self._bytes.drop(used)
            if damage:
                return
            if not self._bytes.more():
                stop = "a packet" if self._bytes.available else ""
        self._bytes.end()
        if stop:
            yield _last(f"the file ends within {stop}", self._bytes.offset, is_cut=True)
        elif self._interfaces and not self._has_can:
            yield _last(f"no interface of this capture is CAN: {_REMEDY}", None, is_cut=False)

    def _even(self) -> Iterator[ParsedBlock]:
        """The packets of one size that come next, which SocketCAN's nearly always have, at once."""
        if self._is_ng or not self._interfaces or self._interfaces[0].link_type != SOCKETCAN:
            return
        self._content = self._bytes.peek(self._bytes.available)
        packets, used = even_packets(self._content, self._order, self._interfaces[0].units)
        if used:
            self._names.number(self._interfaces[0].channel)
            piece = _Piece(items=len(packets.at))
            yield self._parsed(piece, packets)
            self._bytes.drop(used)

    def _record_at(self, piece: _Piece, at: int) -> int:
        """The size of the record there, 0 where it is not whole yet. Raises `LineError` where it is none."""
        buffer = self._content
        if len(buffer) - at < RECORD_BYTES:
            return 0
        if buffer[at : at + 4] in _ORDERS and not any(buffer[at + 8 : at + RECORD_BYTES]):
            return self._file_head_at(piece, at)
        seconds, part, size, _ = struct.unpack_from(f"{self._order}4L", buffer, at)
        if not any(buffer[at : at + RECORD_BYTES]):
            raise LineError("zero bytes where a packet should begin")
        if size > MAX_PACKET_BYTES:
            raise LineError(f"a packet of {size} bytes is larger than any is")
        if len(buffer) - at - RECORD_BYTES < size:
            return 0
        interface = self._interfaces[0]
        stamp = seconds * NS_PER_SECOND + part * (NS_PER_SECOND // interface.units)
        self._add(piece, interface, stamp, (at + RECORD_BYTES, size), is_sent=False)
        return RECORD_BYTES + int(size)

    def _file_head_at(self, piece: _Piece, at: int) -> int:
        """As `_record_at`, the header of a capture that was joined to the one before."""
        head = self._content[at : at + _FILE_HEAD_BYTES]
        if len(head) < _FILE_HEAD_BYTES:
            return 0
        self._take_file_head(head)
        piece.other("headers of further captures")
        return _FILE_HEAD_BYTES

    def _take_file_head(self, head: bytes) -> None:
        """Raises `LineError` for a capture of something else."""
        self._order, units = _ORDERS[head[:4]]
        link_type = struct.unpack_from(f"{self._order}L", head, 20)[0] & _LINK_TYPE
        interface = Interface(link_type, "can0", units)
        if not interface.has_can:
            raise LineError(f"a capture of {link_name(link_type)}, not of CAN: {_REMEDY}")
        self._interfaces, self._has_can = [interface], True

    def _block_at(self, piece: _Piece, at: int) -> int:
        """As `_record_at`, a block of pcapng."""
        buffer = self._content
        if len(buffer) - at < HEAD_BYTES:
            return 0
        if buffer.startswith(PCAPNG_SECTION, at):
            order = byte_order(buffer[at + 8 : at + 12])
            if order is None:
                raise LineError("a section's byte order is none")
            self._order, self._interfaces = order, []
        kind, size = struct.unpack_from(f"{self._order}LL", buffer, at)
        if size < HEAD_BYTES or size % 4 or size > MAX_BLOCK_BYTES:
            raise LineError(f"a block of {size} bytes is none")
        if len(buffer) - at < size:
            return 0
        block = buffer[at : at + size]
        if struct.unpack_from(f"{self._order}L", block, size - 4)[0] != size:
            raise LineError("a block's size is not the same at its end")
        try:
            self._take(piece, kind, block, at)
        except LineError as error:
            piece.fault(error.reason, self._bytes.offset + at)
        return int(size)

    def _take(self, piece: _Piece, kind: int, block: bytes, at: int) -> None:
        if kind not in PACKETS:
            if kind == DESCRIPTION:
                self._describe(block)
            piece.other(block_name(kind))
            return
        packet = packet_of(kind, block, self._order)
        if packet.interface >= len(self._interfaces):
            raise LineError(f"a packet of interface {packet.interface}, which is not described")
        interface, stamp = self._interfaces[packet.interface], self._latest
        if interface is _UNREADABLE:
            raise LineError(f"a packet of interface {packet.interface}, whose description cannot be read")
        if packet.ticks is not None:
            stamp = interface.offset * NS_PER_SECOND + packet.ticks * NS_PER_SECOND // interface.units
        size = min(packet.size, interface.most) if packet.ticks is None else packet.size
        self._add(piece, interface, stamp, (at + packet.begin, size), is_sent=packet.is_sent)

    def _describe(self, block: bytes) -> None:
        """Packets name their interface by its place among all, also behind one that cannot be read."""
        if len(self._interfaces) >= _MAX_INTERFACES:
            raise LineError(f"more than {_MAX_INTERFACES} interfaces")
        number = len(self._interfaces)
        self._interfaces.append(_UNREADABLE)
        interface = interface_of(block, self._order)
        if not interface.channel:
            taken = {other.channel for other in self._interfaces}
            names = (f"can{free}" for free in count(number))
            interface = replace(interface, channel=next(name for name in names if name not in taken))
        self._interfaces[-1] = interface
        self._has_can |= interface.has_can

    def _add(
        self, piece: _Piece, interface: Interface, stamp: int, place: tuple[int, int], *, is_sent: bool
    ) -> None:
        at, size = place
        if not interface.has_can:
            piece.other(f"{link_name(interface.link_type)} packets")
            return
        part = can_part(interface.link_type, self._content[at : at + min(size, 20)])
        if part is None:
            piece.other("packets that are no CAN frames")
            return
        try:
            if abs(stamp) > _LATEST_NS:
                raise LineError("a packet's time stamp is out of range")
            channel = self._names.number(interface.channel if part.bus is None else self._bus(part.bus))
        except LineError as error:
            piece.fault(error.reason, self._bytes.offset + at)
            return
        self._latest = stamp
        is_little = part.is_cooked and self._order == "<"
        sent, size = part.is_sent or is_sent, max(size - part.begin, 0)
        piece.packets.rows.append((stamp, at + part.begin, size, channel, sent, is_little))
        piece.items += 1

    def _bus(self, number: int) -> str:
        """Interfaces that have only a number are named by the order that they come in."""
        if number not in self._buses and len(self._buses) >= MAX_CHANNELS:
            raise LineError(f"more than {MAX_CHANNELS} interfaces")
        return self._buses.setdefault(number, f"can{len(self._buses)}")

    def _parsed(self, piece: _Piece, packets: Packets) -> ParsedBlock:
        found = frames_of(self._content, packets)
        if found.xl:
            piece.others[XL_FRAMES] += found.xl
        bad = np.flatnonzero(found.why).tolist()
        for row in bad[: MAX_PROBLEMS - len(piece.faults)]:
            reason = f"a packet is no CAN frame: {REASONS[found.why[row]]}"
            piece.faults.append(Fault(None, reason, offset=self._bytes.offset + int(packets.at[row])))
        batch = LogBatch(found.frames, found.channel)
        unreadable = piece.unreadable + len(bad)
        return ParsedBlock(batch, piece.items, dict(piece.others), unreadable, tuple(piece.faults))


def _last(reason: str, offset: int | None, *, is_cut: bool) -> ParsedBlock:
    fault = Fault(None, reason, offset=offset)
    return ParsedBlock(empty_log_batch(), 1, unreadable=1, faults=(fault,), is_cut=is_cut)
