"""Reads logs in a process of its own, so that whoever uses the frames has a core for that."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import EdgeAgentError, ReplayError
from edge_agent.log_selection import SelectedFrames, Selection
from edge_agent.sources.log_blocks import LogProblem
from wire_protocol.batches import FrameBatch


class LogPart(NamedTuple):
    """Some frames of a log in order; `channel` uint16[N] indexes the names in `channels`.

    `fraction` of the logs is read with them.
    """

    frames: FrameBatch
    channel: NDArray[np.uint16]
    channels: Sequence[str]
    fraction: float


class _End(NamedTuple):
    unreadable: int
    problems: list[LogProblem]
    error: str | None


class ReadAhead:
    """One pass over the frames of a selection, read from the beginning of the context on.

    `unreadable` and `problems` are those of the logs, once all is read.
    """

    def __init__(self, selection: Selection) -> None:
        self.unreadable = 0
        self.problems: list[LogProblem] = []
        # A fork has everything imported already.
        context = multiprocessing.get_context("fork")
        self._receiver, self._sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_read, args=(selection, self._sender), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self._sender.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._receiver.close()
        self._process.kill()
        self._process.join()

    def __iter__(self) -> Iterator[LogPart]:
        """Raises EdgeAgentError where the logs cannot be read on."""
        while isinstance(part := self._receive(), LogPart):
            yield part
        self.unreadable, self.problems = part.unreadable, part.problems
        if part.error is not None:
            raise ReplayError(part.error)

    def _receive(self) -> LogPart | _End:
        try:
            part: LogPart | _End = self._receiver.recv()
        except EOFError:
            raise ReplayError(
                "the process that reads the logs has ended; is there too little memory?"
            ) from None
        return part


def _read(selection: Selection, sender: Connection) -> None:
    """The process: sends every part, then how it ended; ends quietly when nobody listens any more."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    source, failed = SelectedFrames(selection), None
    with contextlib.suppress(BrokenPipeError):
        try:
            for frames, channel in source:
                sender.send(LogPart(frames, channel, source.channels, source.fraction))
        except EdgeAgentError as error:
            failed = str(error)
        sender.send(_End(source.unreadable, source.problems, failed))
