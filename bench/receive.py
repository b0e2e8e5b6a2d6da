"""Our SocketCAN source against python-can's `recv`: CPU time per frame; and what it keeps beside candump.

    python bench/receive.py [--interface vcan0] [--rate 4000] [--seconds 60]

With AF_CAN all frames come from a virtual CAN interface, which must be up. Without, a pair of local datagram
sockets stands in for it: the same records through the same system calls; nothing can be lost there, so only
CPU time is compared: medians of interleaved beats. Then the highest rate is looked for at which a bare
recorder keeps everything, and ours records at that for so long; where it cannot, at the highest it keeps.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import hashlib
import logging
import random
import select
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import can
import can.interfaces.socketcan.socketcan as python_can_socketcan
import numpy as np

from bench.frame_block import FrameBlock
from bench.report import Comparison, show, show_skipped
from can_stream.frames.batches import FD_DATA_BYTES, FD_LENGTHS, FrameBatch, widen
from can_stream.logs.formats.candump import CandumpParser
from can_stream.logs.log_blocks import read_blocks
from edge_agent.bus.reader import ReaderLimits, SourceReader
from edge_agent.bus.socketcan import SocketCanBus, open_can_socket
from edge_agent.bus.socketcan_frames import ReceiveSlots
from edge_agent.bus.source import Item
from edge_agent.config.dongle import DongleSection
from edge_agent.state import State, StatusCode
from tests.helpers.conditions import eventually
from tests.vm.can_utils import receivers

# Frames per second at which recorders are tried, from what must be kept everywhere to six full buses: of
# more, a minute does not fit into the largest buffer that candump can have.
RATES = (4_000, 8_000, 16_000, 24_000, 32_000, 40_000, 48_000)
COMPARED_RATES = (4_000.0, 8_000.0)
REQUIRED_RATIO = 5.0
BEAT_SECONDS = ReaderLimits().beat_seconds
BEATS = 300
PROBE_SECONDS = 10.0
SILENCE_SECONDS = 2.0
CANDUMP_PATIENCE_SECONDS = 10.0
BLOCK_FRAMES = 4_099
STAND_IN = "stand-in"

_BUFFER_BYTES = 8 << 20
# candump is the witness, not the peer: it may fall behind, but must have everything. (Doubled by the kernel,
# it is the largest there is.)
_WITNESS_BUFFER_BYTES = (1 << 30) - 1
_SO_RCVBUFFORCE = 33
_CAN_RAW_FILTER = 1
_EXTENDED, _REMOTE, _ERROR = 1 << 31, 1 << 30, 1 << 29

_libc = ctypes.CDLL(None, use_errno=True)
_libc.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Cost(Comparison):
    """Of so many `frames`, medians of beats."""

    frames: int
    frames_per_second: float


@dataclass(frozen=True)
class Kept:
    """What a recorder and candump beside it have of the same frames; None where candump was not asked."""

    name: str
    frames_per_second: float
    seconds: float
    sent: int
    recorded: int
    said_lost: int
    candump_recorded: int | None
    same_as_candump: bool | None

    @property
    def is_all(self) -> bool:
        witnessed = self.candump_recorded in (None, self.sent) and self.same_as_candump is not False
        return self.recorded == self.sent and not self.said_lost and witnessed

    def has_kept(self, rate: float) -> bool:
        """Whether nothing is missing, and the machine could send as fast beside the recorder."""
        return self.is_all and self.frames_per_second >= 0.95 * rate


class Wire:
    """A CAN interface, or pairs of local sockets that stand in for it."""

    def __init__(self, interface: str | None) -> None:
        self.name = interface or STAND_IN
        self._is_real = interface is not None
        self.dongle = DongleSection(self.name, fd=True)

    @contextlib.contextmanager
    def receivers(self, count: int) -> Iterator[tuple[list[socket.socket], list[socket.socket]]]:
        """(sockets that all receive the same, the sockets to send it to)."""
        if self._is_real:
            receivers = [open_can_socket(self.dongle) for _ in range(count)]
            senders = [open_can_socket(self.dongle)]
            senders[0].setsockopt(socket.SOL_CAN_RAW, _CAN_RAW_FILTER, b"")
        else:
            pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
            receivers, senders = ([pair[side] for pair in pairs] for side in (0, 1))
        for one in receivers:
            with contextlib.suppress(PermissionError):  # for the peer, which leaves it as it is
                one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        try:
            yield receivers, senders
        finally:
            for one in receivers + senders:
                one.close()


def traffic(fd_share: float = 0.0, seed: int = 1) -> FrameBlock:
    """Frames of 40 standard and 20 extended identifiers."""
    return FrameBlock(list(_records(random.Random(seed), fd_share)))


def _records(dice: random.Random, fd_share: float) -> Iterator[bytes]:
    """`struct can_frame` and `struct canfd_frame`; some remote and error frames among them."""
    ids = [dice.randrange(0x800) for _ in range(40)] + [
        dice.randrange(1 << 29) | _EXTENDED for _ in range(20)
    ]
    for _ in range(BLOCK_FRAMES):
        can_id, kind = dice.choice(ids), dice.random()
        if kind < fd_share:
            data = dice.randbytes(dice.choice(FD_LENGTHS))
            yield struct.pack("=IBB2x64s", can_id, len(data), 4 | dice.randrange(4), data)
        elif kind > 0.99:
            yield struct.pack("=IB3x8s", _ERROR | 0x88, 8, dice.randbytes(8))
        elif kind > 0.97:
            yield struct.pack("=IB11x", can_id | _REMOTE, dice.randrange(9))
        else:
            data = dice.randbytes(dice.randrange(9))
            yield struct.pack("=IB3x8s", can_id, len(data), data)


@contextlib.contextmanager
def python_can_on(wire: Wire, opened: socket.socket) -> Iterator[can.BusABC]:
    """python-can's bus on this socket instead of the one it would open."""
    logging.getLogger("can").setLevel(logging.CRITICAL)
    create, bind = python_can_socketcan.create_socket, python_can_socketcan.bind_socket
    python_can_socketcan.create_socket = lambda: opened
    python_can_socketcan.bind_socket = lambda sock, channel="": None
    try:
        bus = can.Bus(wire.name, "socketcan", fd=True, ignore_config=True)
    finally:
        python_can_socketcan.create_socket, python_can_socketcan.bind_socket = create, bind
    with bus:
        yield bus


def read_ours(source: SocketCanBus, frames: int) -> None:
    received = sum(len(item) for item in source.read(0) if isinstance(item, FrameBatch))
    assert received == frames, f"{received} of {frames} frames"


def read_peer(bus: can.BusABC, frames: int) -> None:
    for _ in range(frames):
        assert bus.recv(0) is not None


def measure(interface: str | None, rate: float = RATES[0], beats: int = BEATS) -> Cost:
    """Each beat the same frames wait in both sockets, and the time to read them is taken; medians of beats.

    Nothing waits while time is taken, so it is CPU time, and what interrupts now and then is not in a
    median. (The CPU clock of User Mode Linux ticks in 10 ms.) python-can is spared a wake-up per frame.
    """
    wire, block, frames = Wire(interface), traffic(), int(rate * BEAT_SECONDS)
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    with (
        wire.receivers(2) as ((our_socket, their_socket), senders),
        contextlib.closing(SocketCanBus(wire.dongle, open_socket=lambda _: our_socket)) as source,
        python_can_on(wire, their_socket) as bus,
    ):
        reads = [("ours", partial(read_ours, source, frames)), ("peer", partial(read_peer, bus, frames))]
        for beat in range(beats):
            for sender in senders:
                block.burst(sender, beat * frames % (BLOCK_FRAMES - frames), frames)
            time.sleep(BEAT_SECONDS)
            for name, read in reads if beat % 2 else reversed(reads):
                began = time.perf_counter()
                read()
                seconds[name].append(time.perf_counter() - began)
    ours, peer = (statistics.median(seconds[name]) / frames * 1e6 for name in ("ours", "peer"))
    name = f"receive from {wire.name}, {rate:.0f} frames/s"
    return Cost(name, peer / ours, ours, peer, "us per frame", beats * frames, rate)


def receive_bare(opened: socket.socket, frames: int) -> int:
    """recvmmsg on the same beat, and a copy of the memory; nothing is looked at."""
    slots, copies, received = ReceiveSlots(256), [], 0
    while received < frames and select.select([opened], [], [], SILENCE_SECONDS)[0]:
        count = slots.count
        while count == slots.count:
            count = max(
                _libc.recvmmsg(opened.fileno(), slots.address, slots.count, socket.MSG_DONTWAIT, None), 0
            )
            copies.append(slots.frames[:count].copy())
            received += count
        time.sleep(BEAT_SECONDS)
    return received


class Digest:
    """SHA-256 of identifiers, flags, lengths and data, frame after frame, and how many there were."""

    def __init__(self) -> None:
        self.frames = 0
        self._hash = hashlib.sha256()

    def add(self, batch: FrameBatch) -> None:
        """The frames that follow."""
        kinds = [("id", "<u4"), ("flags", "u1"), ("length", "u1"), ("data", "u1", FD_DATA_BYTES)]
        rows = np.zeros(len(batch), np.dtype(kinds))
        rows["id"], rows["flags"], rows["length"] = batch.arbitration_id, batch.flags, batch.length
        rows["data"] = widen(batch.data, FD_DATA_BYTES)
        self._hash.update(rows.tobytes())
        self.frames += len(batch)

    @property
    def value(self) -> str:
        """Of all frames so far, as hex."""
        return self._hash.hexdigest()


class Candump:
    """candump's log of `frames` frames in a directory of its own; it ends after silence too."""

    def __init__(self, interface: str, frames: int, directory: Path) -> None:
        self._directory, before = directory, receivers(interface)
        command = ["candump", "-l", "-r", str(_WITNESS_BUFFER_BYTES), "-n", str(frames)]
        command += ["-T", str(int(CANDUMP_PATIENCE_SECONDS * 1000)), f"{interface},0:0,#FFFFFFFF"]
        self._process = subprocess.Popen(
            command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(lambda: receivers(interface) > before, f"candump listens to {interface}")

    def read(self) -> Digest:
        """Of what it has, once it is done."""
        self._process.wait()
        (log,) = self._directory.glob("candump-*.log")
        parser, digest = CandumpParser(), Digest()
        with log.open("rb") as file:
            for block in read_blocks(file.read):
                digest.add(parser.parse(block).batch.frames)
        return digest

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class Recorded:
    """`digest` is None where nothing was decoded."""

    frames: int
    said_lost: int = 0
    digest: str | None = None


Record = Callable[[Wire, int, Callable[[], None]], Recorded]


def record_bare(wire: Wire, frames: int, begin: Callable[[], None]) -> Recorded:
    """A recorder that does nothing else."""
    with wire.receivers(1) as ((opened,), _):
        begin()
        return Recorded(receive_bare(opened, frames))


def record_ours(wire: Wire, frames: int, begin: Callable[[], None]) -> Recorded:
    """Our source as the agent reads it: with its thread, its beat and its queue."""
    return asyncio.run(_record_ours(wire, frames, begin))


async def _record_ours(wire: Wire, frames: int, begin: Callable[[], None]) -> Recorded:
    is_open = asyncio.Event()

    def on_state(state: State) -> None:
        if state.code is StatusCode.OK:
            is_open.set()

    reader = SourceReader(wire.name, lambda: SocketCanBus(wire.dongle), on_state)
    reader.start()
    await is_open.wait()
    begin()
    digest = Digest()  # of each batch at once: a minute's frames are as large as a small machine's memory
    with contextlib.suppress(TimeoutError):
        while reader.counts.read + reader.counts.lost["kernel"] < frames:
            async with asyncio.timeout(SILENCE_SECONDS):
                _add_all(digest, await reader.read())
    await reader.stop()
    while items := await reader.read():
        _add_all(digest, items)
    counts = reader.counts
    return Recorded(counts.read, sum(counts.lost.values()), digest.value)


def _add_all(digest: Digest, items: list[Item]) -> None:
    for item in items:
        if isinstance(item, FrameBatch):
            digest.add(item)


def keep(record: Record, interface: str, rate: float, seconds: float) -> Kept:
    """What `record` keeps of traffic of all kinds, with candump beside it, which is asked where something was
    decoded."""
    wire, block, frames = Wire(interface), traffic(fd_share=0.1), int(rate * seconds)
    with (
        tempfile.TemporaryDirectory() as directory,
        wire.receivers(0) as (_, (opened,)),
        block.sender(opened, frames, rate) as begin,
        contextlib.closing(Candump(interface, frames, Path(directory))) as candump,
    ):
        began = time.monotonic()
        recorded = record(wire, frames, begin)
        took = time.monotonic() - began
        dumped = None if recorded.digest is None else candump.read()
    kept = (record.__name__, frames / took, took, frames, recorded.frames, recorded.said_lost)
    return Kept(
        *kept, *((None, None) if dumped is None else (dumped.frames, recorded.digest == dumped.value))
    )


def highest_kept_rate(
    record: Record,
    interface: str,
    seconds: float = PROBE_SECONDS,
    rates: Sequence[float] = RATES,
) -> float:
    """The highest of `rates` that can be sent, and at which this recorder keeps everything."""
    highest = 0.0
    for rate in rates:
        kept = keep(record, interface, rate, seconds)
        show(kept)
        if not kept.has_kept(rate):
            break
        highest = rate
    return highest


def has_interface(name: str) -> bool:
    return (Path("/sys/class/net") / name).exists()


def show_kept(interface: str, rate: float | None, seconds: float) -> bool:
    """What is kept at the highest rate of a bare recorder, where need be at the highest of ours."""
    rate = rate or highest_kept_rate(record_bare, interface)
    kept = keep(record_ours, interface, rate, seconds)
    show(kept)
    if kept.has_kept(rate):
        return True
    lower = [one for one in RATES if one < rate]
    if ours := highest_kept_rate(record_ours, interface, rates=lower):
        show(keep(record_ours, interface, ours, seconds))
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--interface", default="vcan0")
    parser.add_argument("--rate", type=float, help="default: the highest that a bare recorder keeps")
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    interface = arguments.interface if has_interface(arguments.interface) else None
    is_cheap = True
    for rate in COMPARED_RATES:
        show(cost := measure(interface, rate))
        is_cheap &= cost.ratio >= REQUIRED_RATIO
    if interface is None:
        show_skipped("what is kept beside candump, which needs AF_CAN")
        return 0
    return 0 if show_kept(interface, arguments.rate, arguments.seconds) and is_cheap else 1


if __name__ == "__main__":
    raise SystemExit(main())
