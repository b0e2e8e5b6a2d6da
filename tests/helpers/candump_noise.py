"""Candump logs that no compressor makes small."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

_FIRST_SECONDS: Final = 1_766_417_462


def write_noise(path: Path, frames: int, frames_per_second: float, channel: str = "can0") -> Path:
    """Frames of random ids and data, evenly spaced; the same on each call."""
    chance = random.Random(frames)
    lines = [
        f"({_FIRST_SECONDS + number / frames_per_second:.6f}) {channel} "
        f"{chance.randrange(0x800):03X}#{chance.randbytes(8).hex().upper()}\n"
        for number in range(frames)
    ]
    path.write_text("".join(lines))
    return path
