"""Our readers of logs against python-can's: CPU time per frame in the same run.

    python bench/log_parse.py [LOG]...

Generated logs of candump, Vector ASC (as CANoe writes them: classic, CAN FD, both, and `base dec`; and as
python-can's own writer does), TRC and BLF; and those named, else shared ones. Both must read the same frames.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import can
import numpy as np

from bench.report import Comparison, compare, cpu_seconds, in_turn, show, show_skipped
from can_stream.frames.batches import FD_LENGTHS, FrameBatch, FrameFlag, batch_of, concatenate
from can_stream.logs.log_reader import open_log
from can_stream.text.candump_format import format_candump
from edge_agent.host.heap import keep_freed_memory
from tests.helpers.shared_data import ICSIM, KONA, SHARED_LOGS

RUNS = 5
FRAMES = 60_000
YARIS = SHARED_LOGS / "CANBUSlogs" / "Yaris_09" / "engineonaconoffstockecu.trc"
START_SECONDS = 1_736_035_200
ASC_DATE = "Tue Nov 14 10:13:20.000 pm 2023"
TRC_HEADERS = {
    "1.1": ";$FILEVERSION=1.1\n;$STARTTIME=45678.9015631597\n;\n",
    "2.1": ";$FILEVERSION=2.1\n;$STARTTIME=45678.9015631597\n;$COLUMNS=N,O,T,B,I,d,R,L,D\n;\n",
}
PEERS: Final[Mapping[str, Callable[[Path], Iterable[can.Message]]]] = {
    ".asc": partial(can.ASCReader, relative_timestamp=False),
    ".blf": can.BLFReader,
    ".log": can.CanutilsLogReader,
    ".trc": can.TRCReader,
}


def identifiers(dice: random.Random) -> list[tuple[int, bool]]:
    """Of a bus: 40 standard and 20 extended ones, which are those with True."""
    standard = [(dice.randrange(0x800), False) for _ in range(40)]
    return standard + [(dice.randrange(1 << 29), True) for _ in range(20)]


def candump_log(path: Path, frames: int = FRAMES, seed: int = 1) -> Path:
    """Each identifier has its length."""
    dice = random.Random(seed)
    kinds = [(number, is_long, 8 if is_long else dice.randrange(9)) for number, is_long in identifiers(dice)]
    now_ns, rows = START_SECONDS * 10**9, []
    for _ in range(frames):
        now_ns += dice.randrange(100, 2000) * 1000
        number, is_extended, length = dice.choice(kinds)
        rows.append((now_ns, number, int(is_extended), length, dice.randbytes(length)))
    path.write_bytes(format_candump(batch_of(rows), "can0"))
    return path


def mixed_messages(fd: float, frames: int, seed: int) -> Iterable[can.Message]:
    """Data of all lengths for every identifier. `fd`: the share of CAN FD."""
    dice = random.Random(seed)
    seconds, kinds = float(START_SECONDS), identifiers(dice)
    for _ in range(frames):
        seconds += dice.randrange(100, 2000) / 1e6
        number, is_extended = dice.choice(kinds)
        is_fd = dice.random() < fd
        data = dice.randbytes(dice.choice(FD_LENGTHS) if is_fd else dice.randrange(9))
        yield can.Message(seconds, number, is_extended_id=is_extended, data=data, channel=0, is_fd=is_fd)


def asc_log(
    path: Path, *, fd: float = 0.0, is_decimal: bool = False, frames: int = FRAMES, seed: int = 1
) -> Path:
    """As CANoe writes it."""
    base = "dec" if is_decimal else "hex"
    with path.open("w") as file:
        file.write(f"date {ASC_DATE}\nbase {base}  timestamps absolute\ninternal events logged\n")
        file.write(f"// version 9.0.0\nBegin Triggerblock {ASC_DATE}\n   0.000000 Start of measurement\n")
        file.writelines(_asc_line(message, is_decimal) for message in mixed_messages(fd, frames, seed))
        file.write("End TriggerBlock\n")
    return path


def _asc_line(message: can.Message, is_decimal: bool) -> str:
    number, size, mark = message.arbitration_id, len(message.data), "x" * message.is_extended_id
    name = (f"{number:d}" if is_decimal else f"{number:X}") + mark
    stamp, payload = f"{message.timestamp - START_SECONDS:11.6f}", bytes(message.data).hex(" ").upper()
    if message.is_fd:
        tail = "   102203  133   303000 e0006659 46500250 4b140250 20011736 2001040d"
        code = FD_LENGTHS.index(size)
        return f"{stamp} CANFD   1 Rx {name:>10}  {'':32} 1 0 {code:x} {size:2} {payload}{tail}\n"
    tail = f"  Length = 244016 BitCount = 125{'' if is_decimal else f' ID = {number}{mark}'}"
    if is_decimal:
        payload = " ".join(f"{byte:3d}" for byte in message.data)
    return f"{stamp} 1  {name:<15} Rx   d {size} {payload}{tail}\n"


def written_asc_log(path: Path, *, fd: float = 0.0, frames: int = FRAMES, seed: int = 1) -> Path:
    """As python-can's ASCWriter writes it."""
    with can.ASCWriter(path) as writer:
        for message in mixed_messages(fd, frames, seed):
            writer(message)
    return path


def trc_log(path: Path, version: str = "2.1", frames: int = FRAMES, seed: int = 1) -> Path:
    """Each identifier has its length."""
    dice = random.Random(seed)
    kinds = [
        (f"{number:08X}", 8) if is_long else (f"{number:04X}", dice.randrange(1, 9))
        for number, is_long in identifiers(dice)
    ]
    now_us, lines = 0, [TRC_HEADERS[version]]
    for number in range(1, frames + 1):
        now_us += dice.randrange(1, 20) * 100
        identifier, length = dice.choice(kinds)
        time, data = now_us / 1000, dice.randbytes(length).hex(" ").upper()
        if version == "1.1":
            lines.append(f"{number:6d}) {time:11.1f}  Rx     {identifier:>8}  {length}  {data} \n")
        else:
            lines.append(f"{number:7d} {time:13.3f} DT  1 {identifier:>8} Rx -  {length:<4} {data} \n")
    path.write_text("".join(lines))
    return path


def blf_log(path: Path, *, fd: bool = False, frames: int = FRAMES, seed: int = 1) -> Path:
    """Each identifier has its length; two bytes of its data change."""
    dice = random.Random(seed)
    lengths = (8, 12, 32, 64) if fd else range(9)
    kinds = [
        (number, is_long, bytearray(dice.randbytes(8 if is_long else dice.choice(lengths))))
        for number, is_long in identifiers(dice)
    ]
    now = float(START_SECONDS)
    with can.BLFWriter(path) as writer:
        for count in range(frames):
            now += dice.randrange(100, 2000) / 1e6
            number, is_extended, data = dice.choice(kinds)
            data[:2] = bytes((count & 0xFF, dice.randrange(256)))[: len(data)]
            writer(can.Message(now, number, is_extended, is_fd=fd, data=data, channel=0))
    return path


LOGS: Final[Mapping[str, Callable[[Path], Path]]] = {
    "generated.log": candump_log,
    "classic.asc": asc_log,
    "decimal.asc": partial(asc_log, is_decimal=True),
    "mixed.asc": partial(asc_log, fd=0.3),
    "fd.asc": partial(asc_log, fd=1.0),
    "written.asc": written_asc_log,
    "written_mixed.asc": partial(written_asc_log, fd=0.1),
    "written_fd.asc": partial(written_asc_log, fd=1.0),
    "generated_1.1.trc": partial(trc_log, version="1.1"),
    "generated_2.1.trc": trc_log,
    "classic.blf": blf_log,
    "fd.blf": partial(blf_log, fd=True),
}


def read_ours(path: Path) -> FrameBatch:
    return concatenate([batch.frames for batch in open_log(path)])


def count_ours(path: Path) -> int:
    return sum(len(batch.frames) for batch in open_log(path))


def count_peer(path: Path) -> int:
    return sum(1 for _ in PEERS[path.suffix](path))


def assert_same(ours: FrameBatch, peer: list[can.Message]) -> None:
    """But for the zone of a date: python-can takes some for UTC, which tools write in local time."""
    assert len(ours) == len(peer)
    differences = ours.timestamp_ns / 1e9 - [message.timestamp for message in peer]
    assert np.ptp(differences) < 1e-6
    assert abs((differences[0] + 450) % 900 - 450) < 1e-3
    for flag, name in ((FrameFlag.EXTENDED, "is_extended_id"), (FrameFlag.FD, "is_fd")):
        assert ((ours.flags & flag) != 0).tolist() == [getattr(message, name) for message in peer]
    assert ours.arbitration_id.tolist() == [message.arbitration_id for message in peer]
    lengths = ours.data_length().tolist()
    payloads = [bytes(row[:length]) for row, length in zip(ours.data, lengths, strict=True)]
    assert payloads == [bytes(message.data) for message in peer]


def measure(path: Path, runs: int = RUNS) -> Comparison:
    # As the commands do that use these readers (edge_agent/logs/read_ahead.py): what it takes to get pages
    # for large arrays from the system again and again is the machine's doing, not the reader's.
    keep_freed_memory()
    frames = read_ours(path)
    assert_same(frames, list(PEERS[path.suffix](path)))
    sides = [partial(cpu_seconds, partial(count, path)) for count in (count_ours, count_peer)]
    return compare(path.name, "us of CPU per frame", in_turn(runs, *sides), len(frames) / 1e6)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name, make in LOGS.items():
            show(measure(make(Path(directory) / name)))
    for path in map(Path, sys.argv[1:]) if len(sys.argv) > 1 else (KONA, ICSIM, YARIS):
        if path.exists():
            show(measure(path))
        else:
            show_skipped(f"{path.name}: needs the shared recordings")


if __name__ == "__main__":
    main()
