"""The process that reads an MF4 log with python-can and asammdf: `PATH`; blocks go to standard output.

What the libraries print goes to standard error, whoever prints it: standard output is a pipe of ours. A log
that was not finished is finished in its place: `PATH` is a copy then.
"""

from __future__ import annotations

import io
import itertools
import math
import os
import resource
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from can_stream.errors import LineError
from can_stream.frames.batches import (
    CLASSIC_DATA_BYTES,
    EXTENDED_ID_MASK,
    FD_LENGTHS,
    STANDARD_ID_MASK,
    FrameFlag,
    batch_of,
)
from can_stream.logs.formats.foreign import HEAD_BYTES, LENGTH, ForeignBlock, is_unfinished
from can_stream.logs.log_blocks import MAX_PROBLEMS, MAX_SECONDS, ChannelNames, check_identifier

if TYPE_CHECKING:
    from can import Message

CHUNK_FRAMES: Final = 4096
MEMORY_BYTES: Final = 1024 * 1024 * 1024
_BUS_EVENT: Final = 2
_CAN_GROUPS: Final = ("CAN_DataFrame", "CAN_ErrorFrame", "CAN_RemoteFrame")
# ASAM MDF 4: blocks begin at multiples of 8; these are the kinds that stand behind the header.
_ALIGNMENT: Final = 8
_BLOCKS: Final = frozenset(
    b"##" + kind
    for kind in b"AT CA CC CG CH CN DG DI DL DT DV DZ EV FH GD HL LD MD RD RI RV SD SI SR TX".split()
)
_PIECE_BYTES: Final = 1024 * 1024
_DAMAGED: Final = "the file is cut or damaged, and cannot be read on"

_UNKNOWN_LIBRARY: Final = (
    "the installed python-can or asammdf reads MF4 in another way than this version knows: "
    "install can-edge-agent[mf4] anew, in an environment of its own"
)

Frame = tuple[int, int, int, int, bytes]


def main() -> None:
    """Reads the file that the command line names, and sends what it holds."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))

    def send(block: ForeignBlock) -> None:
        content = msgspec.msgpack.encode(block)
        answers.write(LENGTH.pack(len(content)) + content)
        answers.flush()

    try:
        read_mf4(sys.argv[1], send)
    except BrokenPipeError:
        os._exit(1)


def read_mf4(path: str, send: Callable[[ForeignBlock], None]) -> None:
    """All of the log, block by block; the last one says so."""
    names = ChannelNames()
    try:
        reader = reader_of(path)
        messages, declared, others = iter(reader), *_contents(reader)
    except UnknownLibraryError:
        send(ForeignBlock(faults=[_UNKNOWN_LIBRARY], unreadable=1, is_cut=True, is_last=True))
        return
    except Exception:  # the libraries raise whatever their parsing raises
        send(ForeignBlock(faults=[_DAMAGED], unreadable=1, is_cut=True, is_last=True))
        return
    if not declared and others:
        reason = "it holds decoded signals and no CAN frames: export the raw frames of the bus, as MF4"
        send(ForeignBlock(others=others, faults=[reason], unreadable=1, is_last=True))
        return
    send(ForeignBlock(others=others))
    seen = 0
    while True:
        block, count, failed = _chunk(messages, names, min(CHUNK_FRAMES, declared - seen))
        seen += count
        if failed or (not count and seen < declared):
            missing = f"{_DAMAGED}: it names {declared} frames, and {seen} are there"
            block.faults.append(missing)
            block.unreadable += 1
            block.is_cut = True
        block.is_last = block.is_cut or seen >= declared
        send(block)
        if block.is_last:
            return


class UnknownLibraryError(Exception):
    """The installed libraries lack what `reader_of` relies on: no log is called damaged for their sake."""


def reader_of(path: str) -> Any:
    """python-can's of the log at `path`, made so that it takes no more memory for a longer log.

    UnknownLibraryError where its fields, or the function of asammdf that is replaced, have other names.
    """
    import asammdf.blocks.mdf_v4  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415 - here alone
    import can  # noqa: PLC0415

    library: Any = asammdf  # it does not say all keywords that it knows
    fields = {*can.MF4Reader.__init__.__code__.co_names, *can.MF4Reader.__iter__.__code__.co_names}
    if not {"_mdf", "_start_timestamp"} <= fields or not hasattr(
        library.blocks.mdf_v4, "all_blocks_addresses"
    ):
        raise UnknownLibraryError
    library.blocks.mdf_v4.all_blocks_addresses = blocks_of
    with open(path, "rb") as file:  # noqa: PTH123
        mode = "r+b" if is_unfinished(file.read(HEAD_BYTES)) else "rb"
    # Its own way maps the file, whose pages count as ours, and lets asammdf look for all identifiers.
    reader: Any = can.MF4Reader.__new__(can.MF4Reader)
    reader._mdf = library.MDF(open(path, mode), process_bus_logging=False)  # noqa: SIM115, PTH123
    reader._start_timestamp = reader._mdf.header.start_time.timestamp()
    return reader


def blocks_of(file: io.BufferedIOBase) -> tuple[dict[int, bytes], dict[bytes, list[int]], list[int]]:
    """The kind of each block by where it begins, the places by kind, and all places: what asammdf asks for to
    finish a log, and would take all of the file into memory for."""
    kinds, places = dict[int, bytes](), defaultdict[bytes, list[int]](list)
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        begin = file.tell() - len(piece)
        words = np.frombuffer(piece, "<u8", len(piece) // _ALIGNMENT)
        # Two number signs, two letters, four zeros.
        for at in (np.flatnonzero(words & 0xFFFF_FFFF_0000_FFFF == 0x2323) * _ALIGNMENT).tolist():
            kind = piece[at : at + 4]
            if kind in _BLOCKS:
                kinds[begin + at] = kind
                places[kind].append(begin + at)
    return kinds, places, list(kinds)


def _contents(reader: Any) -> tuple[int, dict[str, int]]:
    """How many CAN frames the file names, and how many other groups of records it has."""
    frames, others = 0, dict[str, int]()
    for group in reader._mdf.groups:
        names = {channel.name for channel in group.channels}
        count = int(group.channel_group.cycles_nr)
        if not group.channel_group.flags & _BUS_EVENT:
            kind = "groups of decoded signals"
        elif names.isdisjoint(_CAN_GROUPS):
            kind = "groups of other buses"
        else:
            frames += count
            continue
        if count:
            others[kind] = others.get(kind, 0) + 1
    return frames, others


def _chunk(messages: Iterator[Message], names: ChannelNames, count: int) -> tuple[ForeignBlock, int, bool]:
    """Up to `count` frames, how many there were, and whether the reader failed before it had so many."""
    rows: list[Frame] = []
    channel: list[int] = []
    faults: list[str] = []
    seen = unreadable = 0
    failed = False
    try:
        for message in itertools.islice(messages, count):
            seen += 1
            try:
                row = row_of(message)
                channel.append(names.number(channel_of(message)))
                rows.append(row)
            except LineError as error:
                unreadable += 1
                faults.append(error.reason)
    except Exception:  # the reader raises whatever its parsing raises
        failed = True
    frames = batch_of(rows)
    block = ForeignBlock(
        frames.timestamp_ns.tobytes(),
        frames.arbitration_id.tobytes(),
        frames.flags.tobytes(),
        frames.length.tobytes(),
        frames.data.tobytes(),
        np.array(channel, np.uint16).tobytes(),
        list(names.names),
        faults=faults[:MAX_PROBLEMS],
        unreadable=unreadable,
    )
    return block, seen, failed


def channel_of(message: Message) -> str:
    """Bus 1 is `can0`, and so is 0, or none."""
    number = message.channel if isinstance(message.channel, int) else 0
    return f"can{max(number, 1) - 1}"


def row_of(message: Message) -> Frame:
    """A message as a row. Raises `LineError` for what cannot have been on a bus."""
    if not math.isfinite(message.timestamp) or abs(message.timestamp) > MAX_SECONDS:
        raise LineError("timestamp out of range")
    # A double holds today's seconds to 0.2 us: more digits than microseconds would be noise.
    stamp = round(message.timestamp * 1_000_000) * 1000
    sent = 0 if message.is_rx else FrameFlag.TX
    data = bytes(message.data or b"")
    if message.is_error_frame:
        if len(data) > CLASSIC_DATA_BYTES:
            raise LineError(f"{len(data)} data bytes in an error frame")
        return stamp, message.arbitration_id & EXTENDED_ID_MASK, FrameFlag.ERROR | sent, len(data), data
    # Some writers do not set the extended bit: more than 11 bits can only be extended.
    extended = message.is_extended_id or message.arbitration_id > STANDARD_ID_MASK
    check_identifier(message.arbitration_id, extended=extended)
    flags = sent | (FrameFlag.EXTENDED if extended else 0)
    more, length = _kind_of(message, len(data))
    return stamp, message.arbitration_id, flags | more, length, b"" if message.is_remote_frame else data


def _kind_of(message: Message, present: int) -> tuple[int, int]:
    """Flags and length of a data or remote frame of `present` bytes."""
    if message.is_remote_frame:
        # CAN FD has no remote frames (ISO 11898-1): those in an FD log are classic.
        if not 0 <= message.dlc <= 15:
            raise LineError(f"{message.dlc} is no length code")
        return FrameFlag.REMOTE, message.dlc
    if message.is_fd:
        if present not in FD_LENGTHS:
            raise LineError(f"{present} is no CAN FD length")
        brs = FrameFlag.BRS if message.bitrate_switch else 0
        return FrameFlag.FD | brs | (FrameFlag.ESI if message.error_state_indicator else 0), present
    if present > CLASSIC_DATA_BYTES:
        raise LineError(f"{present} data bytes in a classic frame")
    raw_dlc = present == CLASSIC_DATA_BYTES and CLASSIC_DATA_BYTES < message.dlc <= 15
    return 0, message.dlc if raw_dlc else present


if __name__ == "__main__":
    main()
