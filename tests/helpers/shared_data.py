"""Recordings that are not part of this project: beside the repository where they are, else tests skip."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

SHARED_LOGS: Final = Path(__file__).parents[3] / "shared" / "data" / "logs"
KONA: Final = SHARED_LOGS / "kona_comp_can_heating.converted.candump.log"
ICSIM: Final = SHARED_LOGS / "ICSim" / "data" / "sample-can.log"


def shared_log(path: Path) -> Path:
    """`path`; skips the test where it is missing."""
    if not path.exists():
        pytest.skip(f"needs the shared recording {path.name} (../shared/data/logs)")
    return path
