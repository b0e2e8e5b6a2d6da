"""Which frames were stamped by a clock that nobody kept right, and when they really were."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

from can_stream.protocol.clock_record import OFFSET_LIMIT_NS

_NO_BOOT_ID: Final = ("", "unknown")


class StoredClock(NamedTuple):
    """A clock record of a lane: what holds from packet `seq` of the start `start_pk` on."""

    start_pk: int
    seq: int
    boot_id: str
    offset_ns: int
    synchronised: bool


class Unsynchronised(NamedTuple):
    """What is known of times of an unsynchronised clock: what to add to them, None while it is not known."""

    shift_ns: int | None


class ClockCorrection:
    """The clock records of one lane, in the order of its packets: start after start, by number."""

    def __init__(self, records: Sequence[StoredClock]) -> None:
        self._places = [(record.start_pk, record.seq) for record in records]
        self._stretches: list[Unsynchronised | None] = []
        # The first synchronised offset behind each record, boot by boot: from the end.
        offsets: dict[str | int, int] = {}
        for record in reversed(records):
            boot = record.start_pk if record.boot_id in _NO_BOOT_ID else record.boot_id
            if record.synchronised:
                offsets[boot] = record.offset_ns
                self._stretches.append(None)
            else:
                known = offsets.get(boot)
                self._stretches.append(Unsynchronised(_shift_ns(record.offset_ns, known)))
        self._stretches.reverse()

    def of(self, start_pk: int, seq: int) -> Unsynchronised | None:
        """What holds for a packet; None where its times need no correction."""
        at = bisect_right(self._places, (start_pk, seq)) - 1
        if at < 0 or self._places[at][0] != start_pk:
            return None
        return self._stretches[at]


def _shift_ns(offset_ns: int, right_offset_ns: int | None) -> int | None:
    """None also where one of them is nonsense, so that no corrected time overflows."""
    if right_offset_ns is None or abs(right_offset_ns - offset_ns) >= OFFSET_LIMIT_NS:
        return None
    return right_offset_ns - offset_ns
