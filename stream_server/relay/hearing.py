"""What a hello says of frames that have not come: where, how old, and made for which activation. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from can_stream.lanes.intervals import IntervalSet
from can_stream.lanes.positions import Positions
from can_stream.protocol.lanes_control import BacklogRange
from stream_server.relay.line import Line
from stream_server.relay.values import NS


class Missing(Struct, frozen=True):
    """Positions that the recording does not have, and whose frames were made for `activation`.

    `born_ns` None: nobody says how old they are.
    """

    first: int
    through: int
    born_ns: int | None
    activation: str


def note_marks(line: Line, ranges: Sequence[BacklogRange]) -> None:
    """No range has packets of two activations, so each says where one begins."""
    for one in ranges:
        if one.position is not None:
            line.mark(one.first_seq, one.position, one.activation or "")


def missing(start: Positions, ranges: Sequence[BacklogRange], line: Line, said_ns: int) -> Iterator[Missing]:
    """Holes of the recording, in order, cut where what is said of them differs.

    `said_ns`: before that moment the hello was not made. What it does not list has no age.
    """
    holes = IntervalSet.of_disjoint([(hole.first, hole.last) for hole in _merged(start)])
    listed = IntervalSet()
    found: list[Missing] = []
    for one in ranges:
        if one.position is None or not one.frames:
            continue
        first, last = one.position, one.position + one.frames - 1
        listed.add(first, last)
        born_ns = None if one.age_seconds is None else said_ns - int(one.age_seconds * NS)
        parts = holes.common(first, last)
        found += [Missing(low, high + 1, born_ns, one.activation or "") for low, high in parts]
    for hole in holes:
        parts = listed.missing(*hole)
        found += [Missing(low, high + 1, None, line.activation_at(low)) for low, high in parts]
    return iter(sorted(found, key=lambda one: one.first))


class _Span(Struct):
    first: int
    last: int


def _merged(start: Positions) -> list[_Span]:
    spans: list[_Span] = []
    for hole in start.holes:
        if spans and spans[-1].last + 1 >= hole.first:
            spans[-1].last = max(spans[-1].last, hole.last)
        else:
            spans.append(_Span(hole.first, hole.last))
    return spans
