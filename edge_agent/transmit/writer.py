"""What puts frames on a bus: one writer for each source that is open, and one owner for each writer.

A frame that a writer has taken comes back from the source with `FrameFlag.TX`, in the order of writing, once
what `confirms` says of it is true. A writer belongs to one opening of its source: when that is closed it
writes nothing any more, and the next opening has another one.
"""

from __future__ import annotations

from typing import Final, Protocol

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.control import CanEmptyQueue, Confirms
from edge_agent.errors import SourceError
from edge_agent.transmit.known_verdicts import FixedVerdicts
from edge_agent.transmit.policy import FramePermission, TargetBus, Verdict

MAX_FRAMES: Final = 64
"""What one call of `Writer.write` takes at most."""

_ANY_FRAME: Final = FramePermission("all")


class Writer(Protocol):
    """Puts frames on one opened bus. Its methods are called from one thread, the event loop's."""

    @property
    def confirms(self) -> Confirms:
        """What the coming back of a frame proves; "none": of frames that are written nothing is known."""

    @property
    def can_empty_queue(self) -> CanEmptyQueue:
        """How it is known that nothing waits in the driver: "probe" where `is_empty` never knows."""

    def write(self, frames: FrameBatch) -> int:
        """How many of `frames` the driver has taken, from the first on; never blocks.

        Fewer than all, or 0, where its queue is full. Raises SourceError where the device is gone, with
        nothing taken, and for frames that this bus cannot carry, which a policy must have kept back.
        """

    def is_empty(self) -> bool | None:
        """Whether nothing of what was written waits in the driver; None: that cannot be known.

        It may ask the kernel, which can take as long as an interface is changed: not for every frame.
        """


class FrameCheck:
    """Whether a bus can carry frames: the last look at each before the driver has it."""

    def __init__(self, fd: bool, channel: str) -> None:
        self._bus = TargetBus(listen_only=False, fd=fd)
        self._channel = channel
        self._verdicts = FixedVerdicts(_ANY_FRAME.verdicts, reads_data=False)

    def check(self, frames: FrameBatch) -> None:
        """Raises SourceError for error frames, impossible frames, and FD frames where `fd` is not set."""
        for verdict in self._verdicts.of(frames, self._bus):
            if verdict != Verdict.ALLOWED:
                reason = f"{self._channel} cannot carry what is to be sent ({Verdict(verdict).word})"
                raise SourceError("CANNOT_SEND", reason, "this is a fault of the agent: report it")


def closed(channel: str) -> SourceError:
    """What a writer says whose source has been closed."""
    return SourceError("CLOSED", f"{channel} is not open any more", "it is opened again")


def write_failure(reason: str, channel: str) -> SourceError:
    """What a writer says whose device does not take frames for a reason of its own."""
    return SourceError(
        "WRITE_FAILED", f"writing to {channel} failed: {reason}", "check that the adapter is still plugged in"
    )
