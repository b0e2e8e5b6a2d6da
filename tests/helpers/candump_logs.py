"""Made-up candump logs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

IDS: Final = (0x0C4, 0x110, 0x1F0, 0x2A1, 0x3B2, 0x520, 0x7E8)
_FIRST_SECONDS: Final = 1_766_417_462


def write_log(path: Path, frames: int, frames_per_second: float, channel: str = "can0") -> Path:
    """Frames evenly spaced, ids in turn, each with its number as data."""
    lines = []
    for number in range(frames):
        seconds = _FIRST_SECONDS + number / frames_per_second
        lines.append(f"({seconds:.6f}) {channel} {IDS[number % len(IDS)]:03X}#{number:08X}\n")
    path.write_text("".join(lines))
    return path
