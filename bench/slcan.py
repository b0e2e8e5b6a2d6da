"""Our slcan source against python-can's: CPU time per frame, on the same bytes from a pseudo terminal.

    python bench/slcan.py

An adapter in a process of its own says the same frames to both, in turn; both must read the same. Once as
fast as the terminal takes them, once 4,000 a second as on a live bus, where ours is read in beats like in
the agent.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from functools import partial

import can

from bench.report import Comparison, compare, cpu_seconds, in_turn, show
from can_stream.frames.batches import FrameBatch, concatenate
from edge_agent.bus.reader import ReaderLimits
from edge_agent.bus.slcan import SlcanBus
from edge_agent.config.dongle import DongleSection
from tests.helpers.lawicel import LawicelAdapter

RUNS = 5
FRAMES = 12_000
LIVE_FRAMES_PER_SECOND = 4_000
BEAT_SECONDS = ReaderLimits().beat_seconds
BITRATE = 500_000
_STEP_SECONDS = 0.005

Row = tuple[int, int, bytes]


def traffic(frames: int = FRAMES, seed: int = 1) -> list[bytes]:
    """Lines of 40 standard and 20 extended identifiers with payloads of all lengths, most of 8 bytes."""
    dice = random.Random(seed)
    ids = [f"t{dice.randrange(0x800):03X}" for _ in range(40)]
    ids += [f"T{dice.randrange(1 << 29):08X}" for _ in range(20)]
    sizes = [8, 8, 8, *range(9)]
    chosen = [(dice.choice(ids), dice.choice(sizes)) for _ in range(frames)]
    return [f"{name}{size}{dice.randbytes(size).hex().upper()}\r".encode() for name, size in chosen]


def say(adapter: LawicelAdapter, lines: list[bytes], frames_per_second: float | None) -> None:
    """All of it at once, or evenly."""
    if frames_per_second is None:
        adapter.send(b"".join(lines))
        return
    began, sent = time.monotonic(), 0
    while sent < len(lines):
        due = int((time.monotonic() - began) * frames_per_second)
        adapter.send(b"".join(lines[sent:due]))
        sent = max(sent, due)
        time.sleep(_STEP_SECONDS)


@contextlib.contextmanager
def plugged(lines: list[bytes], frames_per_second: float | None) -> Iterator[str]:
    """The port of an adapter in a process of its own, which talks once its bus is opened."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def run() -> None:
        with LawicelAdapter() as adapter:
            theirs.send(adapter.path)
            adapter.opened.wait()
            say(adapter, lines, frames_per_second)
            theirs.recv()

    process = context.Process(target=run)
    process.start()
    try:
        yield ours.recv()
        ours.send("done")
    finally:
        process.join(10)
        process.kill()


def read_ours(port: str, frames: int) -> tuple[float, list[Row]]:
    """(CPU seconds, what was read), read in beats as the agent's reader does."""
    dongle = DongleSection(port, interface="slcan", bitrate=BITRATE, mode="normal")
    batches: list[FrameBatch] = []
    with contextlib.closing(SlcanBus(dongle)) as source:

        def read() -> None:
            received = 0
            while received < frames:
                for item in source.read(0.25):
                    if isinstance(item, FrameBatch):
                        batches.append(item)
                        received += len(item)
                time.sleep(BEAT_SECONDS)

        seconds = cpu_seconds(read)
    batch = concatenate(batches)
    cut = [bytes(row[:length]) for row, length in zip(batch.data, batch.length.tolist(), strict=True)]
    return seconds, list(zip(batch.arbitration_id.tolist(), (batch.flags & 1).tolist(), cut, strict=True))


def read_peer(port: str, frames: int) -> tuple[float, list[Row]]:
    """The same with python-can."""
    messages: list[can.Message] = []
    with can.Bus(port, "slcan", bitrate=BITRATE, sleep_after_open=0, ignore_config=True) as bus:

        def read() -> None:
            while len(messages) < frames:
                message = bus.recv(0.25)
                if message is not None:
                    messages.append(message)

        seconds = cpu_seconds(read)
    return seconds, [(one.arbitration_id, int(one.is_extended_id), bytes(one.data)) for one in messages]


def measure(name: str, frames_per_second: float | None, runs: int = RUNS) -> Comparison:
    """CPU time per frame of both, who must have read the same."""
    lines = traffic()

    def run(read: Callable[[str, int], tuple[float, list[Row]]]) -> tuple[float, list[Row]]:
        with plugged(lines, frames_per_second) as port:
            return read(port, len(lines))

    pairs = in_turn(runs, partial(run, read_ours), partial(run, read_peer))
    assert all(ours[1] == peer[1] for ours, peer in pairs), "not the same frames"
    return compare(name, "us of CPU per frame", [(o[0], p[0]) for o, p in pairs], len(lines) / 1e6)


def main() -> None:
    show(measure("as fast as the terminal takes them", None))
    show(measure(f"live, {LIVE_FRAMES_PER_SECOND} frames/s", LIVE_FRAMES_PER_SECOND))


if __name__ == "__main__":
    main()
