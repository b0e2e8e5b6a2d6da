"""A damaged log of any format ends soon, says so, and everything whole before the damage is read."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Final

import pytest

from can_stream.errors import LogError
from can_stream.frames.batches import FrameBatch, concatenate, empty_batch
from can_stream.logs.log_reader import open_log
from tests.helpers.whole_logs import FRAMES, LOGS, containers

# 20,000 in all: LOG_MUTATIONS=2000 (`scripts/soak.py damaged-logs`).
MUTATIONS: Final = int(os.environ.get("LOG_MUTATIONS", "220"))
MOST_SECONDS: Final = 2.0
# python-can's writer leaves out the remote frames.
LEFT_OUT: Final = {"trc": 5}


def damaged(whole: bytes, dice: random.Random) -> tuple[bytes, int]:
    """One place changed, cut out, put in, doubled, or all behind it gone; and where it begins."""
    at, size = dice.randrange(len(whole)), dice.choice((1, 1, 2, 4, 16, 200))
    part = whole[at : at + size]
    put_in, gone = dice.choice(
        (
            (dice.randbytes(len(part)), size),
            (bytes(byte ^ (1 << dice.randrange(8)) for byte in part), size),
            (bytes(len(part)), size),
            (b"\xff" * len(part), size),
            (b"", size),
            (dice.randbytes(size), 0),
            (part, 0),
            (b"9" * size, 0),
            (b"", len(whole)),
        )
    )
    return whole[:at] + put_in + whole[at + gone :], at


def read(path: Path, name: str) -> tuple[FrameBatch, int]:
    """The frames, with the books looked at, and how many lines or objects are unreadable."""
    reader = open_log(path, format=name)
    frames = concatenate([batch.frames for batch in reader])
    assert reader.frames + reader.unreadable + sum(reader.others.values()) == reader.items
    return frames, reader.unreadable


def whole_before(name: str, whole: bytes, at: int, path: Path) -> FrameBatch:
    """The frames of all that ends before the place: of lines, of packets, of a container that is inflated."""
    if name == "blf":
        begun = max((place for place in containers(whole) if place <= at), default=0)
    elif name == "pcap":
        begun = 24 + max(0, (at - 24) // 32) * 32
    else:
        begun = whole[:at].rfind(b"\n") + 1
    path.write_bytes(whole[:begun])
    return read(path, name)[0] if begun else empty_batch()


@pytest.mark.timeout(60 + MUTATIONS)
@pytest.mark.parametrize("name", LOGS)
def test_a_damaged_log_ends_soon_and_gives_all_before_the_damage(name: str, tmp_path: Path) -> None:
    make, frame_bytes = LOGS[name]
    whole, dice = make(tmp_path), random.Random(name)
    path, before = tmp_path / "damaged", tmp_path / "before"
    path.write_bytes(whole)
    assert len(read(path, name)[0]) == FRAMES - LEFT_OUT.get(name, 0)
    for _ in range(MUTATIONS):
        content, at = damaged(whole, dice)
        path.write_bytes(content)
        began_seconds = time.monotonic()
        try:
            frames, _ = read(path, name)
        except LogError:
            assert at < 64, "only what is at its beginning makes a log none"
            continue
        assert time.monotonic() - began_seconds < MOST_SECONDS
        assert len(frames) <= len(content) // frame_bytes
        expected = whole_before(name, whole, at, before)
        assert frames[: len(expected)].equals(expected), content
