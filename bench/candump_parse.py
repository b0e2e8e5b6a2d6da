"""Our candump parser against python-can's CanutilsLogReader: CPU time per frame in the same run.

    python bench/candump_parse.py [LOG]...

A generated log, and those named, else the shared ones. Both must read the same frames.
"""

from __future__ import annotations

import random
import sys
import tempfile
from functools import partial
from pathlib import Path

import can
import numpy as np

from bench.report import Comparison, compare, cpu_seconds, in_turn, show, show_skipped
from can_stream.frames.batches import FrameBatch, batch_of, concatenate
from can_stream.logs.formats.candump import CandumpParser
from can_stream.logs.log_blocks import read_blocks
from can_stream.text.candump_format import format_candump
from tests.helpers.shared_data import ICSIM, KONA

RUNS = 7
FRAMES = 60_000


def generated_log(path: Path, frames: int = FRAMES, seed: int = 1) -> Path:
    """A bus of 40 standard and 20 extended identifiers with payloads of all lengths."""
    dice = random.Random(seed)
    kinds = [(dice.randrange(0x800), 0, dice.randrange(9)) for _ in range(40)]
    kinds += [(dice.randrange(1 << 29), 1, 8) for _ in range(20)]
    now_ns, rows = 1_736_035_200_000_000_000, []
    for _ in range(frames):
        now_ns += dice.randrange(100, 2000) * 1000
        arbitration_id, flags, length = dice.choice(kinds)
        rows.append((now_ns, arbitration_id, flags, length, dice.randbytes(length)))
    path.write_bytes(format_candump(batch_of(rows), "can0"))
    return path


def read_ours(path: Path) -> FrameBatch:
    parser = CandumpParser()
    with path.open("rb") as file:
        return concatenate([parser.parse(block).batch.frames for block in read_blocks(file.read)])


def read_peer(path: Path) -> list[can.Message]:
    return list(can.CanutilsLogReader(str(path)))


def count_ours(path: Path) -> int:
    parser = CandumpParser()
    with path.open("rb") as file:
        return sum(len(parser.parse(block).batch.frames) for block in read_blocks(file.read))


def count_peer(path: Path) -> int:
    return sum(1 for _ in can.CanutilsLogReader(str(path)))


def assert_same(ours: FrameBatch, peer: list[can.Message]) -> None:
    assert len(ours) == len(peer)
    stamps = np.array([message.timestamp for message in peer])
    assert np.abs(ours.timestamp_ns / 1e9 - stamps).max() < 1e-6
    assert ours.arbitration_id.tolist() == [message.arbitration_id for message in peer]
    assert (ours.flags & 1).astype(bool).tolist() == [message.is_extended_id for message in peer]
    lengths = ours.data_length().tolist()
    payloads = [bytes(row[:length]) for row, length in zip(ours.data, lengths, strict=True)]
    assert payloads == [bytes(message.data) for message in peer]


def measure(path: Path, runs: int = RUNS) -> Comparison:
    frames = read_ours(path)
    assert_same(frames, read_peer(path))
    sides = [partial(cpu_seconds, partial(count, path)) for count in (count_ours, count_peer)]
    return compare(path.name, "us of CPU per frame", in_turn(runs, *sides), len(frames) / 1e6)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        show(measure(generated_log(Path(directory) / "generated.log")))
    for path in map(Path, sys.argv[1:]) if len(sys.argv) > 1 else (KONA, ICSIM):
        if path.exists():
            show(measure(path))
        else:
            show_skipped(f"{path.name}: needs the shared recordings")


if __name__ == "__main__":
    main()
