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
from edge_agent.relay.burst import Cut, frame_keys
from edge_agent.relay.bus_facts import BusFacts
from edge_agent.relay.waiting import WaitingItem
from edge_agent.transmit.known_verdicts import FixedVerdicts
from edge_agent.transmit.policy import RelayPolicy, Verdict

MAY_GO: Final = "may_go"
NO_PART: Final = "no_part"  # an own echo or an error frame: in no count
Fate: TypeAlias = NotSent | Literal["may_go", "no_part", "in_doubt"]

# Whoever sent an own echo back would have two gateways send it to each other for ever.
_NO_PART: Final = int(FrameFlag.TX | FrameFlag.ERROR)
_ALLOWED, _TOO_OLD, _SUPERSEDED = map(int, (Verdict.ALLOWED, Verdict.TOO_OLD, Verdict.SUPERSEDED))
_NO_PART_CODE, _DOUBT_CODE = len(Verdict), len(Verdict) + 1
# These are told before `unconfirmed`, and before that frames come from a log.
_BEFORE_UNCONFIRMED: Final = (Verdict.LISTEN_ONLY, Verdict.ERROR_FRAME, Verdict.UNSUPPORTED)


class Judged(Struct, frozen=True):
    """The rows at the head: of which start, where, what becomes of each, and when each was read at the
    earliest. `sure_from`: the first position of what was surely offered to nobody before. `ids`, `keys`: by
    `id_keys` and `frame_keys`. `batches`: of them and of what follows."""

    start_id: str
    positions: list[int]
    fates: list[Fate]
    born_ns: list[int]
    ids: list[int]
    keys: list[bytes]
    batches: list[FrameBatch]
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
        return [(self.ids[row], fate) for row, fate in enumerate(self.fates[:rows]) if fate != NO_PART]

    def cut(self, rows: Sequence[int]) -> Cut:
        """These rows that may go, consecutive ones of `may_go`, and what follows that will never go."""
        end = rows[-1] + 1
        while end < len(self.fates) and self.fates[end] not in (MAY_GO, "in_doubt"):
            end += 1
        refused = [row for row in range(rows[0], end) if self.fates[row] not in (MAY_GO, NO_PART)]
        return Cut(
            self._frames(rows),
            [self.positions[row] for row in rows],
            [self.born_ns[row] for row in rows],
            self.positions[end - 1] + 1,
            [(self.positions[row], cast(NotSent, self.fates[row])) for row in refused],
            self.sure_from,
            [self.ids[row] for row in refused],
            [self.ids[row] for row in rows],
            [self.keys[row] for row in rows],
        )

    def _frames(self, rows: Sequence[int]) -> FrameBatch:
        first, end = rows[0], rows[-1] + 1
        needed = []
        for batch in self.batches:
            if first < len(batch) and end > 0:
                is_whole = first <= 0 and end >= len(batch)
                needed.append(batch if is_whole else batch[max(first, 0) : end])
            first, end = first - len(batch), end - len(batch)
        frames = concatenate(needed)
        return frames if len(frames) == len(rows) else frames[np.array(rows, np.intp) - rows[0]]


class Judge:
    """Of one bus, by its policy. `is_doubtful`: whether somebody may have sent an item already.

    What cannot change while frames wait is found once; age, doubt and how the bus stands at each call.
    """

    def __init__(self, policy: RelayPolicy, is_doubtful: Callable[[WaitingItem], bool]) -> None:
        self._policy = policy
        self.looks_behind = policy.looks_behind
        self._fixed = FixedVerdicts(policy.fixed, reads_data=policy.reads_data)
        self._is_doubtful = is_doubtful
        self._fates: list[Fate] = []
        self._fates_for: BusFacts | None = None

    def judge(
        self,
        head: Sequence[WaitingItem],
        behind: Sequence[WaitingItem],
        bus: BusFacts,
        now_ns: int,
        most_rows: int | None = None,
    ) -> Judged:
        """The rows of `head`, which are of one start; at most the first `most_rows`. `behind`: what waits
        after it, where that matters."""
        sure = next((item.position for item in head if item.fresh or not self._is_doubtful(item)), None)
        judged = Judged(head[0].start_id, [], [], [], [], [], [item.frames for item in head], sure)
        room = sum(len(item.frames) for item in head) if most_rows is None else most_rows
        codes: list[int] = []
        for item in head:
            rows = min(room, len(item.frames))
            if not rows:
                break
            room -= rows
            codes += self._codes(item, rows, bus, now_ns)
            known, at = item.rows, item.position - item.rows.position
            judged.ids.extend(known.ids[at : at + rows])
            judged.keys.extend(known.keys[at : at + rows])
            judged.positions.extend(range(item.position, item.position + rows))
            judged.born_ns.extend([item.born_ns or 0] * rows)
        if self._policy.looks_behind:
            self._supersede(codes, [*head, *behind], bus, now_ns)
        if bus != self._fates_for:
            self._fates = [*(_fate(verdict, bus) for verdict in Verdict), NO_PART, "in_doubt"]
            self._fates_for = bus
        judged.fates.extend([self._fates[code] for code in codes])
        return judged

    def _codes(self, item: WaitingItem, rows: int, bus: BusFacts, now_ns: int) -> list[int]:
        """What becomes of the first `rows` of an item, as things are with it now."""
        known = item.rows
        if known.target != bus.target:
            self._find(item, bus)
        at = item.position - known.position
        codes = known.codes[at : at + rows]
        if self._is_doubtful(item):
            return [code if code == _NO_PART_CODE else _DOUBT_CODE for code in codes]
        if not self._policy.is_young(_age_seconds(item, now_ns)):
            return [_TOO_OLD if code == _ALLOWED else code for code in codes]
        return codes

    def _find(self, item: WaitingItem, bus: BusFacts) -> None:
        """What does not change of an item."""
        frames, known = item.frames, item.rows
        verdicts = self._fixed.of(frames, bus.target)
        if item.from_log and not self._policy.takes_logs:
            verdicts = [one if one in _BEFORE_UNCONFIRMED else Verdict.NOT_ALLOWED for one in verdicts]
        flags = zip(frames.flags.tolist(), verdicts, strict=True)
        known.codes = [_NO_PART_CODE if flag & _NO_PART else verdict for flag, verdict in flags]
        known.ids, known.keys = id_keys(frames), frame_keys(frames)
        known.position, known.target = item.position, bus.target

    def _supersede(self, codes: list[int], items: Sequence[WaitingItem], bus: BusFacts, now_ns: int) -> None:
        """Of ids that go with their latest value alone, by all that waits."""
        every = [code for item in items for code in self._codes(item, len(item.frames), bus, now_ns)]
        frames = concatenate([item.frames for item in items])
        superseded = self._policy.superseded(frames, np.array(every) == _ALLOWED)
        for row in superseded[: len(codes)].nonzero()[0].tolist():
            codes[row] = _SUPERSEDED


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
