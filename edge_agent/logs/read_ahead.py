"""Reads logs in a process of its own, so that whoever uses the frames has the other cores for that."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
from collections.abc import Sequence
from fcntl import F_SETPIPE_SZ, fcntl
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from can_stream.errors import CanStreamError
from can_stream.frames.batches import FrameBatch
from can_stream.logs.books import LogBooks
from can_stream.logs.log_blocks import LogProblem
from can_stream.logs.log_file import is_standard_input, keep_standard_input
from edge_agent.host.heap import keep_freed_memory
from edge_agent.logs.selected_frames import SelectedFrames
from edge_agent.logs.selection import Selection

# Whoever reads all of a log as fast as possible has the memory for large blocks.
_BLOCK_BYTES: Final = 512 * 1024
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_PIPE_BYTES: Final = 1 << 20  # as much as pipe(7) grants anybody


class LogPart(NamedTuple):
    """Some frames of a log in order; `channel` uint16[N] indexes the names in `channels`.

    `fraction` of the logs is read with them.
    """

    frames: FrameBatch
    channel: NDArray[np.uint16]
    channels: Sequence[str]
    fraction: float


class LogEnd(NamedTuple):
    """How the logs ended: what could not be read, why they could not be read on, if so, what of the
    selection is `unmatched`, and what each log holds."""

    unreadable: int
    problems: list[LogProblem]
    error: str | None
    unmatched: Sequence[str] = ()
    books: Sequence[LogBooks] = ()


class ReadAhead:
    """One pass over the frames of a selection, read from the beginning of the context on.

    Processes forked in the context can receive too, one after the other.
    """

    def __init__(self, selection: Selection) -> None:
        if any(map(is_standard_input, selection.paths)):
            keep_standard_input()
        # A fork has everything imported already.
        context = multiprocessing.get_context("fork")
        self._receiver, self._sender = context.Pipe(duplex=False)
        # Otherwise only a fraction of a part fits, and nothing is read before somebody takes the rest.
        with contextlib.suppress(OSError):
            fcntl(self._sender.fileno(), F_SETPIPE_SZ, _PIPE_BYTES)
        self._process = context.Process(
            target=_read, args=(os.getpid(), selection, self._receiver, self._sender), daemon=True
        )

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

    def receive(self) -> LogPart | LogEnd:
        """The next part; at last, once, how the logs ended."""
        try:
            part: LogPart | LogEnd = self._receiver.recv()
        except (EOFError, OSError):  # at the end of a part, or within one
            return LogEnd(0, [], "the process that reads the logs has ended; is there too little memory?")
        return part


def begin_as_helper(parent_pid: int) -> None:
    """What a forked process does first: it ends when the one that forked it does, and never before."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)
    keep_freed_memory()


def _read(parent_pid: int, selection: Selection, receiver: Connection, sender: Connection) -> None:
    """The process: sends every part, then how it ended; ends quietly when nobody listens any more."""
    begin_as_helper(parent_pid)
    receiver.close()
    source, failed = SelectedFrames(selection, _BLOCK_BYTES), None
    with contextlib.suppress(BrokenPipeError):
        try:
            for frames, channel in source:
                sender.send(LogPart(frames, channel, source.channels, source.fraction))
        except CanStreamError as error:
            failed = str(error)
        unmatched = tuple(source.unmatched)
        sender.send(LogEnd(source.unreadable, source.problems, failed, unmatched, tuple(source.books)))
