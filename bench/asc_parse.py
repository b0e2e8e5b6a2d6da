"""Our parser of Vector ASC logs against python-can's ASCReader: CPU time per frame in the same run.

    python bench/asc_parse.py [LOG]...

Generated logs, as CANoe writes them: classic frames, CAN FD, both, and `base dec`; and those of python-can's
own writer, whose columns are others. Both must read the same frames.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import can

from bench.candump_parse import assert_same
from bench.report import Comparison, compare, cpu_seconds, in_turn, show
from can_stream.frames.batches import FD_LENGTHS, FrameBatch, concatenate
from can_stream.logs.formats.asc import AscParser
from can_stream.logs.log_blocks import BLOCK_BYTES, read_blocks

RUNS = 3
FRAMES = 60_000
_BLOCK_BYTES = 4 * BLOCK_BYTES  # as `open_log` reads them
DATE = "Tue Nov 14 10:13:20.000 pm 2023"


def generated_log(
    path: Path, *, fd: float = 0.0, is_decimal: bool = False, frames: int = FRAMES, seed: int = 1
) -> Path:
    """A bus of 40 standard and 20 extended identifiers, data of all lengths. `fd`: the share of CAN FD."""
    dice = random.Random(seed)
    seconds = 0.0
    with path.open("w") as file:
        base = "dec" if is_decimal else "hex"
        file.write(
            f"date {DATE}\nbase {base}  timestamps absolute\ninternal events logged\n// version 9.0.0\n"
        )
        file.write(f"Begin Triggerblock {DATE}\n   0.000000 Start of measurement\n")
        identifiers = _identifiers(dice)
        for _ in range(frames):
            seconds += dice.randrange(100, 2000) / 1e6
            number, is_extended = dice.choice(identifiers)
            is_fd = dice.random() < fd
            data = dice.randbytes(dice.choice(FD_LENGTHS) if is_fd else dice.randrange(9))
            name = f"{number:d}" if is_decimal else f"{number:X}"
            write = _fd_line if is_fd else _decimal_line if is_decimal else _line
            file.write(write(seconds, name + "x" * is_extended, len(data), data))
        file.write("End TriggerBlock\n")
    return path


def written_log(path: Path, *, fd: float, frames: int = FRAMES, seed: int = 1) -> Path:
    """The same kind of bus as python-can's ASCWriter writes it."""
    dice = random.Random(seed)
    seconds, identifiers = 1.7e9, _identifiers(dice)
    with can.ASCWriter(str(path)) as writer:
        for _ in range(frames):
            seconds += dice.randrange(100, 2000) / 1e6
            number, is_extended = dice.choice(identifiers)
            is_fd = dice.random() < fd
            data = dice.randbytes(dice.choice(FD_LENGTHS) if is_fd else dice.randrange(9))
            writer(
                can.Message(seconds, number, is_extended_id=is_extended, data=data, channel=0, is_fd=is_fd)
            )
    return path


def _identifiers(dice: random.Random) -> list[tuple[int, bool]]:
    standard = [(dice.randrange(0x800), False) for _ in range(40)]
    return standard + [(dice.randrange(1 << 29), True) for _ in range(20)]


def _line(seconds: float, name: str, length: int, data: bytes) -> str:
    tail = f"  Length = 244016 BitCount = 125 ID = {int(name.rstrip('x'), 16)}{'x' * name.endswith('x')}"
    return f"{seconds:11.6f} 1  {name:<15} Rx   d {length} {data.hex(' ').upper()}{tail}\n"


def _decimal_line(seconds: float, name: str, length: int, data: bytes) -> str:
    payload = " ".join(f"{byte:3d}" for byte in data)
    return f"{seconds:11.6f} 1  {name:<15} Rx   d {length} {payload}  Length = 244016 BitCount = 125\n"


def _fd_line(seconds: float, name: str, length: int, data: bytes) -> str:
    code, payload = FD_LENGTHS.index(length), data.hex(" ").upper()
    tail = "   102203  133   303000 e0006659 46500250 4b140250 20011736 2001040d"
    return f"{seconds:11.6f} CANFD   1 Rx {name:>10}  {'':32} 1 0 {code:x} {length:2} {payload}{tail}\n"


def read_ours(path: Path) -> FrameBatch:
    parser = AscParser()
    with path.open("rb") as file:
        return concatenate(
            [parser.parse(block).batch.frames for block in read_blocks(file.read, _BLOCK_BYTES)]
        )


def read_peer(path: Path) -> list[can.Message]:
    return list(can.ASCReader(str(path), relative_timestamp=False))


def count_ours(path: Path) -> int:
    parser = AscParser()
    with path.open("rb") as file:
        return sum(len(parser.parse(block).batch.frames) for block in read_blocks(file.read, _BLOCK_BYTES))


def count_peer(path: Path) -> int:
    return sum(1 for _ in can.ASCReader(str(path), relative_timestamp=False))


def measure(path: Path, runs: int = RUNS) -> Comparison:
    frames = read_ours(path)
    assert_same(frames, read_peer(path))
    sides = [partial(cpu_seconds, partial(count, path)) for count in (count_ours, count_peer)]
    return compare(path.name, "us of CPU per frame", in_turn(runs, *sides), len(frames) / 1e6)


KINDS: Final[dict[str, Callable[[Path], Path]]] = {
    "classic.asc": generated_log,
    "decimal.asc": partial(generated_log, is_decimal=True),
    "mixed.asc": partial(generated_log, fd=0.3),
    "fd.asc": partial(generated_log, fd=1.0),
    "written.asc": partial(written_log, fd=0.0),
    "written_mixed.asc": partial(written_log, fd=0.1),
    "written_fd.asc": partial(written_log, fd=1.0),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name, make in KINDS.items():
            show(measure(make(Path(directory) / name)))
    for path in map(Path, sys.argv[1:]):
        show(measure(path))


if __name__ == "__main__":
    main()
