"""Our BLF reader against python-can's BLFReader: CPU time per frame in the same run.

    python bench/blf_parse.py [LOG]...

Generated logs, classic and CAN FD, and those named. Both must read the same frames.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import can
import numpy as np

from bench.report import Comparison, compare, cpu_seconds, in_turn, show
from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate
from can_stream.logs.formats.blf import BlfLog

RUNS = 5
FRAMES = 60_000


def generated_log(path: Path, frames: int = FRAMES, seed: int = 1, *, fd: bool = False) -> Path:
    """A bus of 40 standard and 20 extended identifiers: payloads of all lengths, two bytes of each change."""
    dice = random.Random(seed)
    lengths = (8, 12, 32, 64) if fd else range(9)
    sizes = [dice.choice(lengths) for _ in range(40)]
    kinds = [(dice.randrange(0x800), False, bytearray(dice.randbytes(size))) for size in sizes]
    kinds += [(dice.randrange(1 << 29), True, bytearray(dice.randbytes(8))) for _ in range(20)]
    now = 1_736_035_200.0
    with can.BLFWriter(path) as writer:
        for number in range(frames):
            now += dice.randrange(100, 2000) / 1e6
            identifier, is_extended, data = dice.choice(kinds)
            data[:2] = bytes((number & 0xFF, dice.randrange(256)))[: len(data)]
            writer(can.Message(now, identifier, is_extended, is_fd=fd, data=data, channel=0))
    return path


def batches(path: Path) -> Iterator[FrameBatch]:
    with path.open("rb") as file:
        for block in BlfLog(path, file.read).blocks():
            yield block.batch.frames


def count_ours(path: Path) -> int:
    return sum(map(len, batches(path)))


def read_peer(path: Path) -> list[can.Message]:
    return list(can.BLFReader(path))


def count_peer(path: Path) -> int:
    return sum(1 for _ in can.BLFReader(path))


def assert_same(ours: FrameBatch, peer: list[can.Message]) -> None:
    """But for the date, which python-can takes as UTC and Vector's tools write in local time."""
    assert len(ours) == len(peer)
    stamps = np.array([message.timestamp for message in peer])
    differences = ours.timestamp_ns / 1e9 - stamps
    assert np.ptp(differences) < 1e-6
    assert ours.arbitration_id.tolist() == [message.arbitration_id for message in peer]
    for flag, name in ((FrameFlag.EXTENDED, "is_extended_id"), (FrameFlag.FD, "is_fd")):
        assert ((ours.flags & flag) != 0).tolist() == [getattr(message, name) for message in peer]
    lengths = ours.data_length().tolist()
    payloads = [bytes(row[:length]) for row, length in zip(ours.data, lengths, strict=True)]
    assert payloads == [bytes(message.data) for message in peer]


def measure(path: Path, runs: int = RUNS) -> Comparison:
    frames = concatenate(list(batches(path)))
    assert_same(frames, read_peer(path))
    sides = [partial(cpu_seconds, partial(count, path)) for count in (count_ours, count_peer)]
    return compare(path.name, "us of CPU per frame", in_turn(runs, *sides), len(frames) / 1e6)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        show(measure(generated_log(Path(directory) / "classic.blf")))
        show(measure(generated_log(Path(directory) / "fd.blf", fd=True)))
    for path in map(Path, sys.argv[1:]):
        show(measure(path))


if __name__ == "__main__":
    main()
