"""What becomes of frames, in the record: each in one count, and only forward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from can_stream.protocol.relay_control import Cursor, Direction, NotSent, Totals
from can_stream.protocol.relay_items import Counts
from edge_agent.relay.account.by_id import CountsById
from edge_agent.relay.burst import Burst
from edge_agent.relay.judging import Judged
from edge_agent.relay.record import Record
from edge_agent.relay.waiting import WaitingItem


class Settling:
    """Settles for one bus, from the source `source_dongle_id`. Times are CLOCK_BOOTTIME.

    A burst that a killed process has left open is in doubt, and is not repeated. `by_id`: since the start.
    """

    def __init__(self, record: Record, now_ns: int) -> None:
        self.source_dongle_id = ""
        self.by_id: Final = CountsById()
        self._record = record
        self._moved: dict[tuple[str, str], None] = {}
        burst = record.burst
        if burst is not None:
            moved = Cursor(burst.source_dongle_id, burst.start_id, burst.through)
            totals = Totals(in_doubt=burst.frames, not_sent=burst.refused)
            record.leave([*record.left, *burst.keys])
            record.settle(moved, now_ns, totals, closes=True)
            self.ask(burst.source_dongle_id, burst.start_id)

    def begin(self, direction: Direction, now_ns: int) -> None:
        """The server's directions: what it knows to be settled is so here too, where it is ahead."""
        self.source_dongle_id = direction.source_dongle_id
        if direction.begins_anew:
            self._record.begin_anew(now_ns)
        for cursor in direction.cursors:
            self._record.adopt(cursor, now_ns)

    def at(self, start_id: str) -> int:
        """Below this position all of a start is settled."""
        return self._record.cursor(self.source_dongle_id, start_id).position

    def ask(self, source_dongle_id: str, start_id: str) -> None:
        """The server has not heard where this start stands: it is told again."""
        self._moved[source_dongle_id, start_id] = None

    def moved(self) -> list[Cursor]:
        """The cursors that have moved, or were asked for, since the last call."""
        moved, self._moved = self._moved, {}
        return [self._record.cursor(*key) for key in moved]

    def refuse(self, judged: Judged, rows: int, now_ns: int) -> int:
        """The first rows of these will never go. The position behind them."""
        through, totals = judged.refused(rows)
        self.by_id.add(judged.told(rows))
        moved = Cursor(self.source_dongle_id, judged.start_id, through)
        self._record.settle(moved, now_ns, totals, sure_from=judged.sure_from)
        self.ask(self.source_dongle_id, judged.start_id)
        return through

    def count(self, counts: Counts, now_ns: int) -> None:
        """A row of counts: of what lies below the cursor it is known better what has become of it."""
        source, start_id, at = self.source_dongle_id, counts.start_id, self.at(counts.start_id)
        self.ask(source, start_id)
        if at >= counts.through:
            return
        frames = min(counts.frames, counts.through - at)
        if counts.in_doubt:
            totals = Totals(in_doubt=frames)
        else:
            totals = Totals(not_sent=_some({counts.reason: frames}))
        self._record.settle(Cursor(source, start_id, counts.through), now_ns, totals)

    def close(self, burst: Burst, totals: Totals, now_ns: int) -> None:
        """What has become of a burst, and of what was refused with it."""
        not_sent = dict(burst.refused())
        for reason, frames in totals.not_sent.items():
            not_sent[reason] = not_sent.get(reason, 0) + frames
        taken_as = next(iter(totals.not_sent), "sent" if burst.confirms == "bus" else "accepted")
        self.by_id.add(burst.fates(taken_as, doubt=totals.in_doubt > 0))
        moved = Cursor(burst.source_dongle_id, burst.start_id, burst.through)
        settled = replace(totals, not_sent=not_sent)
        self._record.settle(moved, now_ns, settled, sure_from=burst.sure_from, closes=True)
        self.ask(burst.source_dongle_id, burst.start_id)

    def is_doubtful(self, item: WaitingItem) -> bool:
        """Whether somebody whom this record cannot know may have sent it: made before the record began."""
        if item.fresh:
            return False
        if item.born_ns is not None:
            return item.born_ns <= self._record.floor_ns
        sure_from = self._record.sure_from(self.source_dongle_id, item.start_id)
        return sure_from is None or item.position < sure_from


def _some(counts: Mapping[NotSent, int]) -> dict[NotSent, int]:
    return {reason: frames for reason, frames in counts.items() if frames}
