"""What may be put on a bus of this gateway: the last word, whatever a server or the relay asks for.

Nothing is allowed unless the configuration says so. Each frame gets one verdict; where several reasons hold,
the first in the order of `Verdict` is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.frames.batches import (
    EXTENDED_ID_MASK,
    FD_LENGTHS,
    STANDARD_ID_MASK,
    FrameBatch,
    FrameFlag,
)
from edge_agent.config.transmit import AllowEntry, Permission, RelaySection, Replay, TransmitSection

_EXTENDED_BIT: Final = np.uint32(1 << 29)
_REMOTE_BIT: Final = np.uint32(1 << 30)
_MAX_CLASSIC_DLC: Final = 15

_Rows = NDArray[np.bool_]


class Verdict(IntEnum):
    """What becomes of a frame, and why; `word` is its stable name for counters and messages."""

    ALLOWED = 0
    LISTEN_ONLY = 1  # the dongle is, whatever else is configured
    ERROR_FRAME = 2  # describes a bus, cannot be put on one
    UNSUPPORTED = 3  # CAN FD for a classic bus, or no possible frame
    NOT_ALLOWED = 4  # off, or no entry has its id
    DATA_MISMATCH = 5  # entries have its id, but no such data
    NEVER = 6  # the id's rule of [relay] policy
    TOO_OLD = 7
    SUPERSEDED = 8  # a newer frame of its id waits behind it
    RATE = 9

    @property
    def word(self) -> str:
        """listen_only, not_allowed, too_old..."""
        return self.name.lower()


Verdicts = NDArray[np.uint8]
"""uint8[N] of `Verdict`."""


class TargetBus(Struct, frozen=True):
    """The bus in question: whether its dongle only listens, whether it carries CAN FD."""

    listen_only: bool
    fd: bool


class FramePermission:
    """Which frames `off`, `allowlist` or `all` with these entries lets through, time left aside."""

    def __init__(self, permission: Permission, allow: Sequence[AllowEntry] = ()) -> None:
        self._permission = permission
        self._entries = [(entry.terms(), _byte_columns(entry)) for entry in allow]

    @property
    def reads_data(self) -> bool:
        """Whether an entry asks for data."""
        return any(columns is not None for _, columns in self._entries)

    def verdicts(self, batch: FrameBatch, bus: TargetBus) -> Verdicts:
        """A verdict for each frame."""
        found = self._by_list(batch)
        found[~_fits(batch, bus)] = Verdict.UNSUPPORTED
        found[_has(batch, FrameFlag.ERROR)] = Verdict.ERROR_FRAME
        if bus.listen_only:
            found[:] = Verdict.LISTEN_ONLY
        return found

    def _by_list(self, batch: FrameBatch) -> Verdicts:
        if self._permission == "all":
            return np.full(len(batch), Verdict.ALLOWED, np.uint8)
        found = np.full(len(batch), Verdict.NOT_ALLOWED, np.uint8)
        if self._permission == "off":
            return found
        extended_rows, sizes = _has(batch, FrameFlag.EXTENDED), batch.data_length()
        has_data = ~_has(batch, FrameFlag.REMOTE)
        for (wanted, mask, extended), columns in self._entries:
            same_id = (batch.arbitration_id & np.uint32(mask)) == np.uint32(wanted)
            rows = (same_id & (extended_rows == extended) & (found != Verdict.ALLOWED)).nonzero()[0]
            if columns is None:
                found[rows] = Verdict.ALLOWED
                continue
            found[rows] = Verdict.DATA_MISMATCH
            rows = rows[(sizes[rows] == len(columns[0])) & has_data[rows]]
            found[rows[_same_data(batch.data[rows], *columns)]] = Verdict.ALLOWED
        return found


class RateLimit:
    """A token bucket: so many frames per second, and after a pause as many as in one second at once."""

    def __init__(self, frames_per_second: float) -> None:
        self._rate = frames_per_second
        self._depth = self._tokens = max(1.0, frames_per_second)
        self._at_seconds: float | None = None

    def take_one(self, wanted: int, now_seconds: float) -> int:
        """How many of `wanted` frames may go now; time that goes back gives nothing."""
        if self._at_seconds is not None and now_seconds > self._at_seconds:
            self._tokens = min(self._depth, self._tokens + (now_seconds - self._at_seconds) * self._rate)
        self._at_seconds = max(now_seconds, self._at_seconds or now_seconds)
        granted = min(wanted, int(self._tokens))
        self._tokens -= granted
        return granted


class CommandPolicy:
    """What commands may put on one bus, by [transmit]. Each bus has its own, and so its own rate."""

    def __init__(self, section: TransmitSection) -> None:
        self._permission = FramePermission(section.mode, section.allow)
        self._rate = RateLimit(section.max_frames_per_second)

    def decide(self, batch: FrameBatch, bus: TargetBus, now_seconds: float) -> Verdicts:
        """A verdict for each frame of a command; those allowed count against the rate, in order."""
        found = self._permission.verdicts(batch, bus)
        rows = (found == Verdict.ALLOWED).nonzero()[0]
        found[rows[self._rate.take_one(len(rows), now_seconds) :]] = Verdict.RATE
        return found


class RelayPolicy:
    """What a group's other side may put on one bus, by [relay]. `takes_logs`: also frames of a log."""

    def __init__(self, section: RelaySection) -> None:
        self._permission = FramePermission(section.transmit, section.allow)
        self.takes_logs: Final = section.from_logs
        self._max_age_seconds = section.max_age_seconds or 0.0
        keys: dict[Replay, list[int]] = {"all": [], "latest": [], "never": []}
        for rule in section.policy:
            arbitration_id, extended = rule.key()
            keys[rule.replay].append(arbitration_id | (int(_EXTENDED_BIT) if extended else 0))
        self._never, self._latest = (np.array(keys[name], np.uint32) for name in ("never", "latest"))

    @property
    def looks_behind(self) -> bool:
        """Whether a verdict depends on what waits behind a frame."""
        return bool(len(self._latest))

    @property
    def reads_data(self) -> bool:
        """Whether frames of one id, kind and length may have different verdicts."""
        return self._permission.reads_data

    def decide(self, queue: FrameBatch, bus: TargetBus, age_seconds: NDArray[np.float64]) -> Verdicts:
        """A verdict for each frame of all that waits for the bus, oldest first.

        `age_seconds` float64[N]: an upper bound of the age of each; NaN where it cannot be known. That, like
        an age below 0, is too old.
        """
        found = self.fixed(queue, bus)
        young = (age_seconds >= 0) & (age_seconds <= self._max_age_seconds)
        self._judge(found, ~young, Verdict.TOO_OLD)
        if self.looks_behind:
            self._judge(found, self.superseded(queue, found == Verdict.ALLOWED), Verdict.SUPERSEDED)
        return found

    def fixed(self, frames: FrameBatch, bus: TargetBus) -> Verdicts:
        """What does not change while frames wait: a verdict for each, age and what is behind it aside."""
        found = self._permission.verdicts(frames, bus)
        if len(self._never):
            self._judge(found, np.isin(_id_keys(frames), self._never), Verdict.NEVER)
        return found

    def is_young(self, age_seconds: float) -> bool:
        """Whether frames of this age may go; NaN, where it cannot be known, may not."""
        return 0 <= age_seconds <= self._max_age_seconds

    def superseded(self, queue: FrameBatch, allowed: _Rows) -> _Rows:
        """Rows of `latest` ids that are not the last of those that may go; a request is no newer value."""
        keys = _id_keys(queue)
        rows = (allowed & np.isin(keys, self._latest)).nonzero()[0]
        kinds = keys[rows] | np.where(_has(queue, FrameFlag.REMOTE)[rows], _REMOTE_BIT, np.uint32(0))
        _, from_the_end = np.unique(kinds[::-1], return_index=True)
        older = np.zeros(len(queue), np.bool_)
        older[rows] = True
        older[rows[len(rows) - 1 - from_the_end]] = False
        return older

    def _judge(self, found: Verdicts, rows: _Rows, verdict: Verdict) -> None:
        found[rows & (found == Verdict.ALLOWED)] = verdict


def counts_by_word(verdicts: Verdicts) -> dict[str, int]:
    """How many frames each verdict has, those that it has any of."""
    counts = np.bincount(verdicts, minlength=len(Verdict)).tolist()
    return {verdict.word: counts[verdict] for verdict in Verdict if counts[verdict]}


def _fits(batch: FrameBatch, bus: TargetBus) -> _Rows:
    """Whether each frame exists and the bus can carry it; its id must not spill into a driver's flags."""
    is_fd, is_remote = _has(batch, FrameFlag.FD), _has(batch, FrameFlag.REMOTE)
    highest = np.where(_has(batch, FrameFlag.EXTENDED), EXTENDED_ID_MASK, STANDARD_ID_MASK)
    lengths = np.where(is_fd, np.isin(batch.length, FD_LENGTHS), batch.length <= _MAX_CLASSIC_DLC)
    possible = (batch.arbitration_id <= highest) & lengths & (batch.data_length() <= batch.width)
    carried = ~is_fd if not bus.fd else ~(is_fd & is_remote)
    rows: _Rows = possible & carried
    return rows


def _same_data(data: NDArray[np.uint8], wanted: NDArray[np.uint8], mask: NDArray[np.uint8]) -> _Rows:
    rows: _Rows = ((data[:, : len(wanted)] & mask) == wanted).all(axis=1)
    return rows


def _byte_columns(entry: AllowEntry) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    masks = entry.data_masks()
    if masks is None:
        return None
    return np.frombuffer(masks[0], np.uint8), np.frombuffer(masks[1], np.uint8)


def _id_keys(frames: FrameBatch) -> NDArray[np.uint32]:
    """Ids of 29 bits are others than those of 11."""
    return frames.arbitration_id | np.where(_has(frames, FrameFlag.EXTENDED), _EXTENDED_BIT, np.uint32(0))


def _has(batch: FrameBatch, flag: FrameFlag) -> _Rows:
    rows: _Rows = (batch.flags & int(flag)) != 0
    return rows
