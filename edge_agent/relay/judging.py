"""Which of the frames at the head of what waits may go now, and why the others never will.

The one place where the relay decides that a frame may be put on a bus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias, cast

import numpy as np
from msgspec import Struct

from can_stream.frames.batches import FrameBatch, FrameFlag, concatenate
from can_stream.protocol.relay_control import NotSent, Totals
from edge_agent.relay.account.by_id import id_keys
from edge_agent.relay.burst import Cut
from edge_agent.relay.bus_facts import BusFacts
from edge_agent.relay.waiting import WaitingItem
from edge_agent.transmit.policy import RelayPolicy, Verdict

MAY_GO: Final = "may_go"
NO_PART: Final = "no_part"  # an own echo or an error frame: in no count
Fate: TypeAlias = NotSent | Literal["may_go", "no_part", "in_doubt"]

# Whoever sent an own echo back would have two gateways send it to each other for ever.
_NO_PART: Final = int(FrameFlag.TX | FrameFlag.ERROR)
# These are told before `unconfirmed`, and before that frames come from a log.
_BEFORE_UNCONFIRMED: Final = (Verdict.LISTEN_ONLY, Verdict.ERROR_FRAME, Verdict.UNSUPPORTED)


class Judged(Struct, frozen=True):
    """The rows at the head: of which start, where, what becomes of each, and when each was read at the
    earliest. `sure_from`: the first position of what was surely offered to nobody before."""

    start_id: str
    positions: list[int]
    fates: list[Fate]
    frames: FrameBatch
    born_ns: list[int]
    sure_from: int | None

    def may_go(self) -> list[int]:
        """The rows that may be sent now."""
        return [row for row, fate in enumerate(self.fates) if fate == MAY_GO]

    def together(self, rows: Sequence[int]) -> Sequence[int]:
        """Those of them that one burst may have: what is in doubt is settled before what comes behind it."""
        if "in_doubt" not in self.fates[rows[0] :]:
            return rows
        end = self.fates.index("in_doubt", rows[0])
        return [row for row in rows if row < end]

    def refused(self, rows: int) -> tuple[int, Totals]:
        """The position behind the first `rows`, and what has become of them, none of which may go."""
        counts = Counter(self.fates[:rows])
        doubt = counts.pop("in_doubt", 0)
        counts.pop(NO_PART, 0)
        return self.positions[rows - 1] + 1, Totals(in_doubt=doubt, not_sent=cast(dict[NotSent, int], counts))

    def told(self, rows: int) -> list[tuple[int, str]]:
        """The id and fate of each of the first `rows` that counts."""
        keys = id_keys(self.frames[:rows])
        return [(key, fate) for key, fate in zip(keys, self.fates, strict=False) if fate != NO_PART]

    def cut(self, rows: Sequence[int]) -> Cut:
        """These rows that may go, consecutive ones of `may_go`, and what follows that will never go."""
        end = rows[-1] + 1
        while end < len(self.fates) and self.fates[end] not in (MAY_GO, "in_doubt"):
            end += 1
        refused = [
            (self.positions[row], cast(NotSent, self.fates[row]))
            for row in range(rows[0], end)
            if self.fates[row] not in (MAY_GO, NO_PART)
        ]
        chosen = np.array(rows, np.intp)
        positions = [self.positions[row] for row in rows]
        born_ns = [self.born_ns[row] for row in rows]
        through = self.positions[end - 1] + 1
        ids = id_keys(self.frames[rows[0] : end])
        places = range(rows[0], end)
        refused_ids = [
            key for key, row in zip(ids, places, strict=True) if self.fates[row] not in (MAY_GO, NO_PART)
        ]
        return Cut(self.frames[chosen], positions, born_ns, through, refused, self.sure_from, refused_ids)


class Judge:
    """Of one bus, by its policy. `is_doubtful`: whether somebody may have sent an item already."""

    def __init__(self, policy: RelayPolicy, is_doubtful: Callable[[WaitingItem], bool]) -> None:
        self._policy = policy
        self._is_doubtful = is_doubtful

    def judge(
        self, head: Sequence[WaitingItem], behind: Sequence[WaitingItem], bus: BusFacts, now_ns: int
    ) -> Judged:
        """All rows of `head`, which are of one start. `behind`: what waits after it, where that matters."""
        frames = concatenate([item.frames for item in head])
        positions = np.concatenate([np.arange(item.position, item.end) for item in head]).tolist()
        born_ns = [item.born_ns or 0 for item in head for _ in range(len(item.frames))]
        fates = self._fates([*head, *behind], bus, now_ns)[: len(frames)]
        sure = (item.position for item in head if item.fresh or not self._is_doubtful(item))
        return Judged(head[0].start_id, positions, fates, frames, born_ns, next(sure, None))

    def _fates(self, items: Sequence[WaitingItem], bus: BusFacts, now_ns: int) -> list[Fate]:
        frames = concatenate([item.frames for item in items])
        lengths = [len(item.frames) for item in items]
        doubtful = np.repeat([self._is_doubtful(item) for item in items], lengths)
        no_part = (frames.flags & _NO_PART) != 0
        asked = (~doubtful & ~no_part).nonzero()[0]
        ages = np.repeat([_age_seconds(item, now_ns) for item in items], lengths)
        fates: list[Fate] = np.where(no_part, NO_PART, "in_doubt").tolist()
        verdicts = self._policy.decide(frames[asked], bus.target, ages[asked])
        refused = np.repeat([item.from_log and not self._policy.takes_logs for item in items], lengths)
        verdicts[refused[asked] & ~np.isin(verdicts, _BEFORE_UNCONFIRMED)] = Verdict.NOT_ALLOWED
        for row, verdict in zip(asked.tolist(), verdicts.tolist(), strict=True):
            fates[row] = _fate(Verdict(verdict), bus)
        return fates


def _age_seconds(item: WaitingItem, now_ns: int) -> float:
    return float("nan") if item.born_ns is None else (now_ns - item.born_ns) / 1e9


def _fate(verdict: Verdict, bus: BusFacts) -> Fate:
    """By the order of the closed list of reasons."""
    if bus.is_up and bus.confirms == "none" and verdict not in _BEFORE_UNCONFIRMED:
        return "unconfirmed"
    if verdict != Verdict.ALLOWED:
        return cast(NotSent, verdict.word)
    if bus.asleep:
        return "asleep"
    if bus.disabled:
        return "disabled"
    return "gate" if bus.gate_closed else MAY_GO
