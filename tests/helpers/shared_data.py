"""Recorded drives and databases of others, no part of this project: beside the repository, or nowhere.

Tests that compare with them are marked `recorded`; where they are missing they are not collected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

SHARED_DATA: Final = Path(__file__).parents[3] / "shared" / "data"
SHARED_LOGS: Final = SHARED_DATA / "logs"
KONA: Final = SHARED_LOGS / "kona_comp_can_heating.converted.candump.log"
ICSIM: Final = SHARED_LOGS / "ICSim" / "data" / "sample-can.log"
