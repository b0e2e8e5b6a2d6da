"""What a server has recorded of a bus whose frames are numbered: which are there, and what its gaps say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tests.helpers.processes import StreamServer

# What every start says of the one before it, and all that may be said where nothing is lost.
START: Final = ("agent_start", None)


@dataclass(frozen=True, slots=True)
class NumberedRecording:
    """Numbers of frames in the order of the recording; `gaps`: where, how many, and the number before it."""

    numbers: list[int]
    gaps: list[tuple[str, int | None, int]]

    def missing(self, fed: int) -> set[int]:
        """What was fed and is nowhere."""
        return set(range(fed)).difference(self.numbers)

    @property
    def said(self) -> list[tuple[str, int | None]]:
        """The gaps, and how many frames they say."""
        return [(where, frames) for where, frames, _ in self.gaps]

    @property
    def unexplained(self) -> set[int]:
        """The numbers behind which frames are missing and no gap stands."""
        before = {number for _, _, number in self.gaps}
        return {a for a, b in pairwise(self.numbers) if b != a + 1} - before

    def assert_in_order(self) -> None:
        """All is there once and in order, and a gap stands where numbers are missing."""
        assert self.numbers == sorted(set(self.numbers)), "twice, or out of order"
        assert not self.unexplained, "missing frames and no gap"


def numbered_recording(server: StreamServer, dongle_id: str, token: str) -> NumberedRecording:
    """What the server gives."""
    text = server.read(f"/api/v1/dongles/{dongle_id}/frames?format=jsonl", token).decode()
    found = NumberedRecording([], [])
    for record in map(json.loads, text.splitlines()):
        if record["type"] == "gap":
            before = found.numbers[-1] if found.numbers else -1
            found.gaps.append((record["where"], record["frames"], before))
        elif record["type"] == "can_frame":
            found.numbers.append(int(record["data_hex"].replace(" ", "")[:8], 16))
    return found
