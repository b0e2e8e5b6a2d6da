"""Our TRC parser against python-can's TRCReader: CPU time per frame in the same run.

    python bench/trc_parse.py [LOG]...

Generated traces of versions 1.1 and 2.1, and those named, else the shared one. Both must read the same
frames; python-can takes the start time for UTC, so times are compared from the first frame on.
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
from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate
from can_stream.logs.formats.trc import TrcParser
from can_stream.logs.log_blocks import BLOCK_BYTES, read_blocks
from tests.helpers.shared_data import SHARED_LOGS

RUNS = 7
FRAMES = 60_000
_BLOCK_BYTES = 2 * BLOCK_BYTES  # as `open_log` reads them
SHARED = SHARED_LOGS / "CANBUSlogs" / "Yaris_09" / "engineonaconoffstockecu.trc"
HEADERS = {
    "1.1": ";$FILEVERSION=1.1\n;$STARTTIME=45678.9015631597\n;\n",
    "2.1": ";$FILEVERSION=2.1\n;$STARTTIME=45678.9015631597\n;$COLUMNS=N,O,T,B,I,d,R,L,D\n;\n",
}


def generated_trace(path: Path, version: str, frames: int = FRAMES, seed: int = 1) -> Path:
    """A bus of 40 standard and 20 extended identifiers with payloads of all lengths."""
    dice = random.Random(seed)
    kinds = [(f"{dice.randrange(0x800):04X}", dice.randrange(1, 9)) for _ in range(40)]
    kinds += [(f"{dice.randrange(1 << 29):08X}", 8) for _ in range(20)]
    now_us, lines = 0, [HEADERS[version]]
    for number in range(1, frames + 1):
        now_us += dice.randrange(1, 20) * 100
        identifier, length = dice.choice(kinds)
        data = dice.randbytes(length).hex(" ").upper()
        if version == "1.1":
            lines.append(f"{number:6d}) {now_us / 1000:11.1f}  Rx     {identifier:>8}  {length}  {data} \n")
        else:
            time = now_us / 1000
            lines.append(f"{number:7d} {time:13.3f} DT  1 {identifier:>8} Rx -  {length:<4} {data} \n")
    path.write_text("".join(lines))
    return path


def read_ours(path: Path) -> FrameBatch:
    parser = TrcParser()
    with path.open("rb") as file:
        return concatenate(
            [parser.parse(block).batch.frames for block in read_blocks(file.read, _BLOCK_BYTES)]
        )


def read_peer(path: Path) -> list[can.Message]:
    return list(can.TRCReader(str(path)))


def count_ours(path: Path) -> int:
    parser = TrcParser()
    with path.open("rb") as file:
        return sum(len(parser.parse(block).batch.frames) for block in read_blocks(file.read, _BLOCK_BYTES))


def count_peer(path: Path) -> int:
    return sum(1 for _ in can.TRCReader(str(path)))


def assert_same(ours: FrameBatch, peer: list[can.Message]) -> None:
    assert len(ours) == len(peer)
    stamps = np.array([message.timestamp for message in peer])
    offsets = (ours.timestamp_ns - ours.timestamp_ns[0]) / 1e9
    assert np.abs(offsets - (stamps - stamps[0])).max() < 1e-6
    assert ours.arbitration_id.tolist() == [message.arbitration_id for message in peer]
    is_extended = (ours.flags & FrameFlag.EXTENDED) != 0
    assert is_extended.tolist() == [message.is_extended_id for message in peer]
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
        for version in HEADERS:
            show(measure(generated_trace(Path(directory) / f"generated_{version}.trc", version)))
    for path in map(Path, sys.argv[1:]) if len(sys.argv) > 1 else (SHARED,):
        if path.exists():
            show(measure(path))
        else:
            show_skipped(f"{path.name}: needs the shared recordings")


if __name__ == "__main__":
    main()
