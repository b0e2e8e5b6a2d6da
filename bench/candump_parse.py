"""Our candump parser against python-can's CanutilsLogReader: CPU time per frame in the same run.

    python bench/candump_parse.py [LOG]

Prints `name ratio ours peer` (microseconds of CPU time per frame, medians of interleaved runs) and the same
as JSON. Both must read the same frames.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import can
import numpy as np

from edge_agent.sources.candump import CandumpParser
from edge_agent.sources.log_blocks import read_blocks
from wire_protocol.batches import FrameBatch, batch_of, concatenate
from wire_protocol.candump_format import format_candump

RUNS = 7
FRAMES = 60_000


@dataclass(frozen=True)
class Result:
    name: str
    ratio: float
    ours_us: float
    peer_us: float
    frames: int


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


def measure(path: Path, runs: int = RUNS) -> Result:
    """Medians of `runs` interleaved pairs."""
    assert_same(read_ours(path), read_peer(path))
    ours, peer, frames = [], [], 0
    for _ in range(runs):
        begin = time.process_time()
        frames = len(read_ours(path))
        middle = time.process_time()
        count_peer(path)
        ours.append(middle - begin)
        peer.append(time.process_time() - middle)
    ratio = statistics.median(theirs / mine for mine, theirs in zip(ours, peer, strict=True))
    to_us = 1e6 / frames
    return Result(path.name, ratio, statistics.median(ours) * to_us, statistics.median(peer) * to_us, frames)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        generated = generated_log(Path(directory) / "generated.log")
        for path in [generated, *map(Path, sys.argv[1:])]:
            result = measure(path)
            print(f"{result.name} {result.ratio:.1f} {result.ours_us:.3f} {result.peer_us:.3f}")
            print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
