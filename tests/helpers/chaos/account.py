"""Whether each fed frame is recorded once, or missing for a cause that was caused. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from can_stream.protocol.packets import GapReason
from tests.helpers.chaos.recorded import Numbers, RecordedStart

Kind = Literal["kill", "restore", "bound", "forgotten"]
Mask = NDArray[np.bool_]
# Which causes a gap of this reason may have. A server that went back has forgotten gaps too, and knows no
# other reason for its start; that it did so it learns only where more was acknowledged than it has. Of a gap
# that alone was `forgotten` it hears as of frames that were announced and are not there any more.
_CAUSES_OF: Final[Mapping[GapReason, tuple[Kind, ...]]] = {
    GapReason.ANNOUNCED: ("kill", "restore", "forgotten"),
    GapReason.RESTORED: ("restore", "kill", "bound"),
    GapReason.SPOOL: ("bound",),
}


class Began(NamedTuple):
    """A start of the agent, which reads from frame `first` on."""

    start_id: str
    first: int


@dataclass(slots=True)
class Causes:
    """Which frames a cause may have cost, and how many at most."""

    frames: list[tuple[Kind, Numbers]] = field(default_factory=list)
    most: dict[Kind, int] = field(default_factory=dict)

    def add(self, kind: Kind, frames: Numbers, most: int | None = None) -> None:
        """One more; `most`: of these frames, where it is less than all of them."""
        self.frames.append((kind, frames))
        self.most[kind] = self.most.get(kind, 0) + (len(frames) if most is None else most)

    def mask(self, kinds: Sequence[Kind], fed: int) -> Mask:
        """Of all that were fed, those which a cause of these kinds may have cost."""
        mask = np.zeros(fed, np.bool_)
        for kind, frames in self.frames:
            if kind in kinds:
                mask[frames[frames < fed]] = True
        return mask


@dataclass(slots=True)
class Account:
    """Of one bus: `problems` has a sentence for each thing that nothing explains."""

    fed: int
    has_last: bool = False
    recorded: int = 0
    in_gaps: dict[str, int] = field(default_factory=dict)
    untold: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        gaps = ", ".join(f"{where} {frames}" for where, frames in sorted(self.in_gaps.items()))
        return f"{self.fed} fed, {self.recorded} recorded, in gaps: {gaps or 'none'}; {self.untold} untold"


def in_gaps(began: Sequence[Began], recorded: Mapping[str, RecordedStart]) -> Numbers:
    """The numbers of all frames that stand in gaps."""
    found = [
        gap.positions + start.begin(first)
        for start_id, first in began
        if (start := recorded.get(start_id)) is not None
        for gap in start.gaps
    ]
    return np.concatenate([np.zeros(0, np.int64), *found])


def account(
    began: Sequence[Began], recorded: Mapping[str, RecordedStart], causes: Causes, fed: int
) -> Account:
    """Of all frames below `fed`; `began`: every start of the agent, in order."""
    out = Account(fed)
    seen, lost = np.zeros(fed, np.int64), np.zeros(fed, np.bool_)
    for start_id in set(recorded).difference(one.start_id for one in began):
        out.problems.append(f"nobody has started {start_id}")
    for start_id, first in began:
        start = recorded.get(start_id)
        if start is None:
            continue
        begin = start.begin(first)
        out.problems += [f"{start_id}: {text}" for text in _own(start, begin, fed)]
        np.add.at(seen, start.numbers[start.numbers < fed], 1)
        for gap in start.gaps:
            numbers = gap.positions + begin
            where = gap.reason.where
            out.in_gaps[where] = out.in_gaps.get(where, 0) + gap.frames
            lost[numbers[numbers < fed]] = True
            allowed = causes.mask(_CAUSES_OF.get(gap.reason, ()), fed)
            if count := int(np.count_nonzero(~allowed[numbers[numbers < fed]])):
                out.problems.append(
                    f"{start_id}: {count} frames in a gap {where} have no such cause: {_named(numbers)}"
                )
    out.recorded, out.has_last = int(np.count_nonzero(seen)), bool(seen[-1:].any())
    out.problems += _sums(out, seen, lost, causes)
    return out


def _own(start: RecordedStart, first: int, fed: int) -> Iterator[str]:
    """What does not fit within a start: order, positions, and what it is told to have made."""
    if np.any(np.diff(start.numbers) <= 0):
        yield "out of order, or twice"
    if np.any(start.numbers - start.positions != first):
        yield "a frame is missing and has no position"
    if start.in_holes:
        yield f"{start.in_holes} frames are still waited for"
    in_gaps = np.concatenate([np.zeros(0, np.int64), *(gap.positions for gap in start.gaps)])
    if any(len(gap.positions) != gap.frames for gap in start.gaps):
        yield f"gaps say others than their places: {[(gap.reason.where, gap.frames) for gap in start.gaps]}"
    places = np.sort(np.concatenate([start.positions, in_gaps]))
    if not np.array_equal(places, np.arange(len(places))):
        yield f"positions are not all there once: {len(places)} of {int(places[-1]) + 1}"
    if len(places) and first + int(places[-1]) >= fed:
        yield "more than was fed"


def _sums(out: Account, seen: Numbers, lost: Mask, causes: Causes) -> Iterator[str]:
    if np.any(seen > 1):
        yield f"recorded twice: {_named(np.flatnonzero(seen > 1))}"
    if np.any(lost & (seen > 0)):
        yield f"recorded and in a gap: {_named(np.flatnonzero(lost & (seen > 0)))}"
    untold = (seen == 0) & ~lost
    out.untold = int(np.count_nonzero(untold))
    # A start that was killed while its server was restored cannot tell what it had got acknowledged.
    allowed = causes.mask(("kill", "restore"), out.fed)
    if np.any(untold & ~allowed):
        yield f"nowhere, and no cause: {_named(np.flatnonzero(untold & ~allowed))}"
    missing = (seen == 0) & ~causes.mask(("restore", "bound"), out.fed)
    cost, most = int(np.count_nonzero(missing)), causes.most.get("kill", 0)
    if cost > most:
        yield f"kills have cost {cost} frames, more than {most}"
    bounded = int(np.count_nonzero((seen == 0) & causes.mask(("bound",), out.fed)))
    if bounded > causes.most.get("bound", 0):
        yield f"a bound has cost {bounded} frames, more than {causes.most.get('bound', 0)}"


def _named(numbers: Numbers) -> str:
    if not len(numbers):
        return "none"
    return f"{len(numbers)} from {int(numbers.min())} to {int(numbers.max())}"
