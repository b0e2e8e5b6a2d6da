"""Writes frames to an slcan adapter, and counts its answers in order.

`t` and `r` (11 bits), `T` and `R` (29 bits) of the Lawicel manuals, `d`, `b`, `D` and `B` for CAN FD. An
adapter answers each command, frames included, in the order in which it got them: `z`, `Z` or CR alone where
it has taken a frame, BELL where it has not. Between them come frames of others, and answers to the source's
`F`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

import numpy as np
from msgspec import Struct

from can_stream.frames.batches import CLASSIC_DATA_BYTES, FrameBatch, FrameFlag, concatenate, empty_batch
from can_stream.protocol.control import CanEmptyQueue, Confirms
from edge_agent.transmit.writer import MAX_FRAMES, FrameCheck, closed

# By what else a frame is: the letter for 11 bits, and that for 29.
_LETTERS: Final = {
    0: "tT",
    int(FrameFlag.REMOTE): "rR",
    int(FrameFlag.FD): "dD",
    int(FrameFlag.FD | FrameFlag.BRS): "bB",
}
_KIND: Final = int(FrameFlag.REMOTE | FrameFlag.FD | FrameFlag.BRS)
# The source writes its own commands in between, which takes longer only where the port is stuck.
_LOCK_SECONDS: Final = 0.005
# One that has answered no frame for so long since the first was written may never do.
_ANSWER_SECONDS: Final = 1.0


class Answer(Enum):
    """What an adapter says to a command: `TAKEN` is for frames only, `STATUS` for `F` only."""

    TAKEN = "taken"
    DONE = "done"
    REFUSED = "refused"
    STATUS = "status"


class _Asked(Struct, frozen=True, eq=False):
    """A command that waits for its answer: a frame, or None for `F`."""

    frame: FrameBatch | None
    at_seconds: float


class SlcanWriter:
    """Writes to a port by `put`, which takes bytes without waiting and says how many; one lock for all that
    is written there.

    `refused`: how many frames the adapter has answered with BELL. It is paused while its source sets the
    adapter up. `is_mute`: the adapter acknowledges nothing.
    """

    def __init__(
        self, channel: str, put: Callable[[bytes], int], monotonic_seconds: Callable[[], float], *, fd: bool
    ) -> None:
        self.refused = 0
        self._channel = channel
        self._put = put
        self._monotonic_seconds = monotonic_seconds
        self._check = FrameCheck(fd, channel)
        self._lock = threading.Lock()
        self._is_open, self._is_ready, self._is_mute = True, False, True
        self._asked: deque[_Asked] = deque()
        self._unsent = b""
        self._back: list[FrameBatch] = []
        self._has_answered = self._tells_itself = False

    @property
    def confirms(self) -> Confirms:
        """Where it answers "adapter"; "none" where it does not, or has answered no frame in time."""
        oldest = next((one for one in tuple(self._asked) if one.frame is not None), None)
        is_late = oldest is not None and self._monotonic_seconds() - oldest.at_seconds > _ANSWER_SECONDS
        return "none" if self._is_mute or (is_late and not self._has_answered) else "adapter"

    @property
    def can_empty_queue(self) -> CanEmptyQueue:
        """Nobody can look into an adapter."""
        return "probe"

    def is_empty(self) -> bool | None:
        """An adapter has a queue of its own, of which it says nothing."""
        return None

    def write(self, frames: FrameBatch) -> int:
        """As `Writer.write`; no more than `MAX_FRAMES` wait for an answer.

        Of a line that the port takes in part the rest follows with the next that is written or read.
        """
        self._check.check(frames)
        if not self._lock.acquire(timeout=_LOCK_SECONDS):
            return 0
        try:
            if not self._is_open:
                raise closed(self._channel)
            return self._write(frames) if self._is_ready and self._send_rest() else 0
        finally:
            self._lock.release()

    # By the source, in its thread.

    def ask(self, write: Callable[[str], None]) -> None:
        """`F`, by the port's `write`, in its place among the frames."""
        with self._lock:
            rest, self._unsent = self._unsent, b""
            write(rest.decode("ascii") + "F")
            self._asked.append(_Asked(None, self._monotonic_seconds()))

    def pause(self) -> None:
        """Nothing is written until `resume`: what was is left to itself, for the adapter is set up."""
        with self._lock:
            self._is_ready, self._unsent = False, b""
            self._asked.clear()

    def resume(self, *, is_mute: bool) -> None:
        """The adapter is set up."""
        self._is_mute, self._is_ready = is_mute, True

    def take(self, answers: Iterable[Answer], own: FrameBatch, now_ns: int) -> FrameBatch:
        """The frames that the adapter has taken by these answers, as they come back at this wall time.

        `own`: frames that it says itself it has sent; from the first of them on its answers say no more.
        """
        with self._lock:
            if self._is_open and self._is_ready:
                self._send_rest()
            self._tells_itself = self._tells_itself or len(own) > 0
            for answer in answers:
                self._take(answer)
            for row in range(len(own)):
                self._drop_same(own[row : row + 1])
            back, self._back = concatenate(self._back), []
        return _as_own(back, now_ns)

    def close(self) -> None:
        """Nothing is written any more, once this has returned."""
        with self._lock:
            self._is_open = False

    # With the lock.

    def _write(self, frames: FrameBatch) -> int:
        if self._waiting >= MAX_FRAMES and self.confirms == "none":
            self._asked.clear()  # it will not answer what it has not answered yet
        now_seconds = self._monotonic_seconds()
        lines = lines_of(frames[: max(0, MAX_FRAMES - self._waiting)])
        content = b"".join(lines)
        written, taken = self._put(content), 0
        while written > 0:
            written -= len(lines[taken])
            taken += 1
        if written:
            self._unsent = lines[taken - 1][written:]
        for row in range(taken):
            frame = frames[row : row + 1]
            if self._is_mute:
                self._back.append(frame)
            else:
                self._asked.append(_Asked(frame, now_seconds))
        return taken

    @property
    def _waiting(self) -> int:
        return sum(one.frame is not None for one in self._asked)

    def _send_rest(self) -> bool:
        """Whether no rest of a line is left."""
        if self._unsent:
            self._unsent = self._unsent[self._put(self._unsent) :]
        return not self._unsent

    def _take(self, answer: Answer) -> None:
        asked = self._asked
        if answer is Answer.STATUS:
            status = next((one for one in asked if one.frame is None), None)
            if status is not None:
                asked.remove(status)
            return
        # One that does not know `F` may leave it unanswered: that must not be taken for a frame's.
        late_seconds = self._monotonic_seconds() - _ANSWER_SECONDS
        while (
            asked
            and asked[0].frame is None
            and (answer is Answer.TAKEN or asked[0].at_seconds < late_seconds)
        ):
            asked.popleft()
        if not asked or (frame := asked.popleft().frame) is None:
            return
        self._has_answered = True
        if answer is Answer.REFUSED:
            self.refused += 1
        elif not self._tells_itself:
            self._back.append(frame)

    def _drop_same(self, own: FrameBatch) -> None:
        plain = _as_own(own, 0)
        for one in self._asked:
            if one.frame is not None and _as_own(one.frame, 0).equals(plain):
                self._asked.remove(one)
                self._has_answered = True
                return


def lines_of(frames: FrameBatch) -> list[bytes]:
    """Frames that a bus can carry, each as an adapter is told it.

    The protocol has no length codes above 8 for classic frames: 8 is sent, as the kernel's slcan does. Nor
    has it the error state indicator, which a controller sets by itself.
    """
    codes, sizes = frames.dlc(), frames.data_length()
    return [_line(frames, row, int(codes[row]), int(sizes[row])) for row in range(len(frames))]


def _line(frames: FrameBatch, row: int, code: int, size: int) -> bytes:
    flags = int(frames.flags[row])
    is_extended = bool(flags & FrameFlag.EXTENDED)
    letter = _LETTERS[flags & _KIND][is_extended]
    code = code if flags & FrameFlag.FD else min(code, CLASSIC_DATA_BYTES)
    data = frames.data[row, :size].tobytes().hex().upper()
    return f"{letter}{frames.arbitration_id[row]:0{8 if is_extended else 3}X}{code:X}{data}\r".encode("ascii")


def _as_own(frames: FrameBatch, now_ns: int) -> FrameBatch:
    """The same, sent at this time."""
    if not len(frames):
        return empty_batch()
    flags = frames.flags | np.uint8(FrameFlag.TX)
    times = np.full(len(frames), now_ns, np.int64)
    return FrameBatch(times, frames.arbitration_id, flags, frames.length, frames.data)
