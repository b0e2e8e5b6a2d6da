"""What the server's books say of a start that its agent does not know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from can_stream.lanes.backlog import Stretch
from can_stream.protocol.lanes_control import LedgerEntry, StartBooks


class AtHello(Struct, frozen=True):
    """Frames of one start when a complete hello was said: what it had `made`, what of it was acknowledged as
    data, and what waited: `waiting` as data, `gaps_waiting` in gaps."""

    made: int = 0
    acknowledged: int = 0
    waiting: int = 0
    gaps_waiting: int = 0


class Difference(Struct, frozen=True):
    """`lost`: frames that the server acknowledged and has no more. `found`: that the agent gave up and the
    server has. `unexplained`: how far its books are from what was made. `earlier_lost`: `lost` of earlier
    starts."""

    lost: int = 0
    found: int = 0
    unexplained: int = 0
    earlier_lost: int = 0


def at_hello(entry: LedgerEntry, listed: Iterable[Stretch]) -> AtHello:
    """Of the start of this entry, whose waiting packets are all `listed`."""
    own = [one for one in listed if one.start_id == entry.start_id]
    waiting, gaps_waiting = sum(one.data_frames for one in own), sum(one.lost_frames for one in own)
    return AtHello(entry.frames, entry.acknowledged, waiting, gaps_waiting)


def difference(
    at: AtHello, start_id: str, books: Sequence[StartBooks], earlier: Iterable[LedgerEntry]
) -> Difference:
    """Between what the agent said in hello and what the server answered."""
    of_starts = {one.start_id: one for one in books}
    own = of_starts.get(start_id)
    if own is None:
        return Difference()
    # What is neither acknowledged nor waits was lost before: gaps. The server has those that do not wait.
    gaps = at.made - at.acknowledged - at.waiting
    lost = max(0, own.in_gaps - gaps, at.acknowledged - own.recorded)
    found = max(0, gaps - at.gaps_waiting - own.in_gaps)
    unexplained = abs(at.made - own.recorded - own.in_gaps - own.in_holes)
    earlier_lost = sum(
        max(0, entry.acknowledged - of_starts[entry.start_id].recorded)
        for entry in earlier
        if entry.start_id in of_starts and entry.start_id != start_id
    )
    return Difference(lost, found, unexplained, earlier_lost)
