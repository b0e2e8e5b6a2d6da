"""What a source of frames is, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol, runtime_checkable

from msgspec import Struct

from can_stream.frames.batches import FrameBatch
from edge_agent.state import State

LossPlace = Literal["driver", "kernel", "queue"]
LOSS_PLACES: Final[tuple[LossPlace, ...]] = ("driver", "kernel", "queue")


class Source(Protocol):
    """An opened bus. Its methods are called from one thread, its properties from anywhere.

    One whose bus can be written to has a `writer` too: as long as it is open, and None unless the mode of its
    dongle is `normal`.
    """

    @property
    def info(self) -> str:
        """What was opened, in the words of its driver."""

    @property
    def malformed(self) -> int:
        """How many frames or lines were unusable so far and are in no batch."""

    @property
    def can_wait(self) -> bool:
        """True where nothing is lost by reading later (a log): it paces itself and is never dropped."""

    def read(self, timeout_seconds: float) -> FrameBatch | Sequence[Item | State]:
        """What has arrived, after at most `timeout_seconds`; maybe nothing. Raises SourceError.

        A sequence has what the driver lost in its place, where the driver says so; a state in it is how
        the source stands from here on.
        """

    def close(self) -> None:
        """Releases the device. Never raises."""


@runtime_checkable
class Patient(Protocol):
    """A source that knows how long it may be left alone while its bus is busy."""

    @property
    def patience_seconds(self) -> float:
        """For so long its driver keeps what arrives, with plenty to spare."""


@runtime_checkable
class Aged(Protocol):
    """A source that knows how old at most is what it gives."""

    @property
    def born_ns(self) -> int:
        """When the driver was last found empty before the oldest frame of what `read` gave last was read
        (CLOCK_BOOTTIME); 0 where it was not yet."""


@runtime_checkable
class Filtering(Protocol):
    """A source that keeps frames from being read."""

    def give_everything(self) -> None:
        """It does so no more, until it is opened again."""


@runtime_checkable
class Following(Protocol):
    """A source that may find in its device what an earlier opening has left there."""

    def follows(self, before: Source) -> None:
        """That was the opening before this one; it is closed."""


@runtime_checkable
class Exemplary(Protocol):
    """A source that keeps an example of what is malformed."""

    @property
    def malformed_example(self) -> str:
        """The newest, as it is shown to people; "" where there is none."""


class FoundEmpty:
    """When a driver was found empty, of which each look says when it began: what is read later came later."""

    def __init__(self) -> None:
        self.born_ns = self.last_ns = 0

    def reads(self) -> None:
        """What is read from here on has come since the last look that found nothing."""
        self.born_ns = self.last_ns

    def empty(self, looked_ns: int) -> None:
        """A look that began then has found nothing, or nothing more."""
        self.last_ns = looked_ns


class LinesBorn:
    """When lines came of which a driver gives pieces: before the first piece of each was read."""

    def __init__(self) -> None:
        self.born_ns = 0
        self._line_ns: int | None = None

    def read(self, read_ns: int, *, ends_line: bool, is_inside_line: bool) -> None:
        """A piece that came after that moment; whether a line ends in it, and another is open behind it."""
        self.born_ns = read_ns if self._line_ns is None else self._line_ns
        if not is_inside_line:
            self._line_ns = None
        elif self._line_ns is None or ends_line:
            self._line_ns = read_ns


class Dropped(Struct, frozen=True):
    """`frames` frames between these timestamps are lost: a queue was full, the driver's or ours.

    None: how many cannot be known.
    """

    frames: int | None
    first_ns: int
    last_ns: int
    place: LossPlace = "driver"


Item = FrameBatch | Dropped
