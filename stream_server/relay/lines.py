"""The starts of a direction in relay order, and how far they are handed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from can_stream.protocol.lanes_control import MAX_STARTS
from can_stream.protocol.relay_control import Cursor, Totals, plus
from stream_server.relay.line import Line

_RETIRED: Final = ""


class Lines:
    """In the order in which their agent lists them. `gone`: starts to be deleted from storage.

    `retired`: the totals of those that are not kept any more, as a line without a name.
    """

    def __init__(self) -> None:
        self.gone: list[str] = []
        self.retired = Line(_RETIRED, version=0)
        self._of: dict[str, Line] = {}
        self._order: list[Line] = []
        self._at = 0

    def __iter__(self) -> Iterator[Line]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def get(self, start_id: str) -> Line | None:
        """The line of this start."""
        return self._of.get(start_id)

    def line(self, start_id: str) -> Line:
        """The line of this start; a new one is the newest."""
        return self._of.get(start_id) or self.add(Line(start_id))

    def known_or_new(self, start_id: str) -> Line | None:
        """As `line`; None for one that may have been let go of, with its totals among those of `retired`."""
        return self.line(start_id) if start_id in self._of or len(self._order) < MAX_STARTS else None

    def add(self, line: Line) -> Line:
        """The newest."""
        if line.start_id == _RETIRED:
            self.retired = line
            return line
        self._of[line.start_id] = line
        self._order.append(line)
        self._retire()
        return line

    def put_in_order(self, start_ids: Sequence[str]) -> None:
        """As their agent lists them; those that it does not name are older."""
        named = [self._of[one] for one in start_ids if one in self._of]
        names = {line.start_id for line in named}
        order = [line for line in self._order if line.start_id not in names] + named
        if order != self._order:
            self._order = order
            self._at = 0
            for line in order:
                line.version += 1

    def is_late(self, line: Line) -> bool:
        """Whether frames of a later start were handed already: what of this one was not known then would
        come out of order."""
        later = self._order[self._order.index(line) + 1 :]
        return any(one.has_offered or one.was_sent for one in later)

    def was_sent(self) -> dict[str, int]:
        """Of each start, as `Line.was_sent`."""
        return {line.start_id: line.was_sent for line in self._order}

    def pass_older(self, was_sent: Mapping[str, int]) -> None:
        """More was sent than `was_sent`, and not heard of, as by a server that was killed: what is older and
        has not gone before that would come out of order."""
        order = self._order
        news = [at for at, one in enumerate(order) if one.was_sent > was_sent.get(one.start_id, one.was_sent)]
        for line in order[: max(news, default=0)]:
            line.count_all("too_old")

    def offered_ns(self, named: Collection[str]) -> int:
        """When what was handed last of all other starts than these was made: their place is not known."""
        return max((line.offered_ns for line in self._order if line.start_id not in named), default=0)

    def to_hand(self) -> Line | None:
        """The first that has something that was not handed."""
        while self._at < len(self._order):
            line = self._order[self._at]
            if line.handed < line.end:
                return line
            self._at += 1
        return None

    def has_more(self, line: Line) -> None:
        """Something of it can be handed that was not there before."""
        if not self._at:
            return
        if line is not self._order[-1]:
            self._at = min(self._at, self._order.index(line))
        elif self._at == len(self._order):
            self._at -= 1

    def rewind(self) -> None:
        """All that is not settled is handed again."""
        self._at = 0
        for line in self._order:
            line.handed = line.settled

    def cursors(self, source_dongle_id: str) -> list[Cursor]:
        """What is known to be settled, of the newest starts."""
        moved = [line for line in self._order if line.settled][-MAX_STARTS:]
        return [Cursor(source_dongle_id, line.start_id, line.settled, line.totals) for line in moved]

    @property
    def kept_bytes(self) -> int:
        """Of bodies of packets that are in the recording."""
        return sum(line.kept_bytes for line in self._order)

    def totals(self) -> Totals:
        """Of all starts together."""
        total = self.retired.totals
        for line in self._order:
            total = both(total, line.totals)
        return total

    def unsettled(self) -> tuple[int, dict[str, int]]:
        """Frames in holes; and those that count already, by what for."""
        missing, counted = 0, dict[str, int]()
        for line in self._order:
            for one in line.stretches:
                if one.reason == "hole":
                    missing += one.frames
                elif one.is_count:
                    why = "in_doubt" if one.in_doubt else str(one.reason)
                    counted[why] = counted.get(why, 0) + one.frames
        return missing, counted

    def places(self) -> Iterator[tuple[int, Line]]:
        """Every line that is stored, with its place."""
        if self.retired.version:
            yield -1, self.retired
        yield from enumerate(self._order)

    def _retire(self) -> None:
        surplus = len(self._order) - MAX_STARTS
        for line in self._order[:-1] if surplus > 0 else ():
            if surplus > 0 and line.is_settled:
                surplus -= 1
                self.retired.totals = both(self.retired.totals, line.totals)
                self.retired.version += 1
                self.gone.append(line.start_id)
                del self._of[line.start_id]
                self._order.remove(line)
                self._at = 0


def both(one: Totals, other: Totals) -> Totals:
    """The sum of both."""
    counts = {"sent": other.sent, "accepted": other.accepted, "in_doubt": other.in_doubt}
    return plus(one, **counts, not_sent=other.not_sent)
