"""A small whole log of each format that is read by ourselves."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import can
import numpy as np

from can_stream.frames.batches import FrameBatch, FrameFlag
from can_stream.text.candump_format import format_candump

FRAMES: Final = 60
START_SECONDS: Final = 1_700_000_000.0


def messages(*, fd: bool) -> list[can.Message]:
    """Of every kind that all writers of python-can know."""
    dice, out = random.Random(7), []
    for number in range(FRAMES):
        is_fd, is_remote = fd and number % 3 == 0, number % 11 == 5
        size = dice.choice([12, 64]) if is_fd else dice.randrange(9)
        out.append(
            can.Message(
                timestamp=START_SECONDS + number / 1000,
                arbitration_id=dice.randrange(0x800),
                is_extended_id=bool(number % 2),
                is_fd=is_fd,
                bitrate_switch=is_fd,
                is_remote_frame=is_remote and not is_fd,
                dlc=size,
                data=None if is_remote and not is_fd else dice.randbytes(size),
                channel=number % 2,
                is_rx=number % 5 != 0,
            )
        )
    return out


def blf(directory: Path) -> bytes:
    path = directory / "whole.blf"
    with can.BLFWriter(path, max_container_size=600) as writer:
        for one in messages(fd=True):
            writer(one)
    return path.read_bytes()


def by_python_can(suffix: str, *, fd: bool) -> Callable[[Path], bytes]:
    def make(directory: Path) -> bytes:
        path = directory / f"whole{suffix}"
        with can.Logger(path) as writer:
            for one in messages(fd=fd):
                writer(one)
        return path.read_bytes()

    return make


def candump(_: Path) -> bytes:
    chance = np.random.default_rng(3)
    stamps = round(START_SECONDS) * 10**9 + np.arange(FRAMES) * 1_000_000
    flags = np.where(np.arange(FRAMES) % 2, int(FrameFlag.EXTENDED), 0).astype(np.uint8)
    ids, length = chance.integers(0, 0x800, FRAMES).astype(np.uint32), np.full(FRAMES, 8, np.uint8)
    data = chance.integers(0, 256, (FRAMES, 8)).astype(np.uint8)
    return format_candump(FrameBatch(stamps, ids, flags, length, data), "can0")


def gvret(_: Path) -> bytes:
    rows = [b"Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8"]
    rows += [b"%d,%08X,false,Rx,%d,2,%02X,FF," % (n * 1000, n, n % 2, n) for n in range(FRAMES)]
    return b"\n".join(rows) + b"\n"


def crtd(_: Path) -> bytes:
    return b"".join(b"1700000000.%06d %dR11 %03X 01 02 %02X\n" % (n, 1 + n % 2, n, n) for n in range(FRAMES))


def busmaster(_: Path) -> bytes:
    head = b"***BUSMASTER Ver 3.2.2***\n***PROTOCOL CAN***\n***START DATE AND TIME 1:2:2024 10:11:12:000***\n"
    head += b"***HEX***\n***SYSTEM MODE***\n"
    return head + b"".join(b"10:11:12:%04d Rx 1 0x%03X s 2 %02X FF\n" % (n, n, n) for n in range(FRAMES))


def pcap(_: Path) -> bytes:
    packets = [struct.pack(">LBBBB", n, 8, 0, 0, 0) + bytes([n] * 8) for n in range(FRAMES)]
    records = [struct.pack("<4L", 1_700_000_000, n, 16, 16) + one for n, one in enumerate(packets)]
    return struct.pack("<LHHlLLL", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 227) + b"".join(records)


# How a whole log is made, and how many bytes a frame has at least (of a container of BLF, after inflation).
LOGS: Final[Mapping[str, tuple[Callable[[Path], bytes], int]]] = {
    "asc": (by_python_can(".asc", fd=True), 11),
    "blf": (blf, 1),
    "busmaster": (busmaster, 12),
    "candump": (candump, 8),
    "crtd": (crtd, 10),
    "csv": (by_python_can(".csv", fd=False), 12),
    "gvret": (gvret, 8),
    "pcap": (pcap, 24),
    "trc": (by_python_can(".trc", fd=False), 8),
}


def containers(whole: bytes) -> list[int]:
    """Where in a BLF file each begins; behind each are as many bytes as a quarter of its size leaves."""
    places = [144]
    while places[-1] < len(whole):
        (size,) = struct.unpack_from("<L", whole, places[-1] + 8)
        places.append(places[-1] + size + size % 4)
    return places
