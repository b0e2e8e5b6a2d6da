"""What has become of frames, by id: counts of a bounded number of ids, the rest in one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from can_stream.frames.batches import EXTENDED_ID_MASK, FrameBatch, FrameFlag, id_text
from edge_agent.relay.account.counted import IdCounts

MOST_IDS: Final = 512
_EXTENDED_BIT: Final = EXTENDED_ID_MASK + 1
_EXTENDED: Final = int(FrameFlag.EXTENDED)


class CountsById:
    """Counts since this process began. The first `most_ids` ids have a row each."""

    def __init__(self, most_ids: int = MOST_IDS) -> None:
        self._most_ids = most_ids
        self._counts: dict[int, Counter[str]] = {}
        self._rest: Counter[str] = Counter()

    def add(self, keys: Iterable[tuple[int, str]]) -> None:
        """Frames by `id_keys`, and what has become of each."""
        for key, fate in keys:
            counts = self._counts.get(key)
            if counts is None:
                if len(self._counts) < self._most_ids:
                    counts = self._counts[key] = Counter()
                else:
                    counts = self._rest
            counts[fate] += 1

    def rows(self, most_rows: int = MOST_IDS) -> list[IdCounts]:
        """At most so many ids, those with the most frames, in order; then the rest, where there is any."""
        ranked = sorted(self._counts, key=lambda key: -self._counts[key].total())
        rest = Counter(self._rest)
        for key in ranked[most_rows:]:
            rest.update(self._counts[key])
        rows = [IdCounts(_text(key), dict(self._counts[key])) for key in sorted(ranked[:most_rows])]
        return [*rows, IdCounts(None, dict(rest))] if rest else rows


def id_keys(frames: FrameBatch) -> list[int]:
    """A number for the id of each frame; those of 29 bits are others than those of 11."""
    rows = zip(frames.arbitration_id.tolist(), frames.flags.tolist(), strict=True)
    return [one | _EXTENDED_BIT if flags & _EXTENDED else one for one, flags in rows]


def _text(key: int) -> str:
    return id_text(key & EXTENDED_ID_MASK, extended=bool(key & _EXTENDED_BIT))
