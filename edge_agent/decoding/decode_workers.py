"""Several processes that decode the parts of logs, and write what they made of them in the logs' order."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Final, NamedTuple, Self

from edge_agent.decoding.decoded_text import Summary
from edge_agent.errors import OutputError, ReplayError
from edge_agent.logs.read_ahead import LogEnd, LogPart, ReadAhead, begin_as_helper

# More would wait for the one process that reads.
_MAX_WORKERS: Final = 4
_GO: Final = b"\1"
_NO_MORE: Final = b"\0"
_FORK: Final = multiprocessing.get_context("fork")


class Written(NamedTuple):
    """A part is written: its frames, and how much of the logs is with it."""

    frames: int
    fraction: float


class _Finished(NamedTuple):
    """A worker has nothing left to do; `end` is how the logs ended, from the one that saw it."""

    worker: int
    summary: Summary
    end: LogEnd | None


class _Turn(NamedTuple):
    """One place in a ring of processes that take turns: where its turn comes from, and where it goes."""

    before: Connection
    behind: Connection

    def wait(self) -> bool:
        """Until it is this one's turn: whether there is more to do."""
        return self.before.recv_bytes(1) == _GO

    def pass_on(self, *, is_more: bool = True) -> None:
        """It is the next one's turn, if it waits for one."""
        self.behind.send_bytes(_GO if is_more else _NO_MORE)


def _ring(count: int) -> list[_Turn]:
    pipes = [_FORK.Pipe(duplex=False) for _ in range(count)]
    turns = [_Turn(pipes[at][0], pipes[(at + 1) % count][1]) for at in range(count)]
    turns[-1].pass_on()
    return turns


class DecodeWorkers:
    """Some workers for the parts of `source`; iterate for what they do.

    `text_of` is called in a worker, and `counted` is what it counts there. The text goes to the descriptor
    `out`, behind `head`. `summary` and `end` are there once all is written.
    """

    def __init__(
        self, source: ReadAhead, text_of: Callable[[LogPart], bytes], counted: Summary, out: int, head: bytes
    ) -> None:
        self.summary = Summary()
        self.end = LogEnd(0, [], None)
        self._source, self._text_of, self._counted, self._out = source, text_of, counted, out
        self._head = head
        self._reports, self._sender = _FORK.Pipe(duplex=False)
        count = min(_MAX_WORKERS, len(os.sched_getaffinity(0)))
        self._reading, self._writing = _ring(count), _ring(count)
        self._workers = [
            _FORK.Process(target=self._work, args=(os.getpid(), at), daemon=True) for at in range(count)
        ]

    def __enter__(self) -> Self:
        _write(self._out, self._head)
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.kill()
            worker.join()

    def __iter__(self) -> Iterator[Written]:
        """Raises CanStreamError where the logs cannot be read on, the text cannot be written or a worker is
        gone, BrokenPipeError where nobody reads the text any more."""
        working = {at: worker.sentinel for at, worker in enumerate(self._workers)}
        while working:
            told = self._told(list(working.values()))
            if isinstance(told, Written):
                yield told
            elif isinstance(told, _Finished):
                del working[told.worker]
                self.summary.add_batch(told.summary)
                self.end = told.end or self.end
            else:
                raise told
        if self.end.error is not None:
            raise ReplayError(self.end.error)

    def _told(self, working: list[int]) -> Written | _Finished | Exception:
        """The next that one of these workers has to say."""
        wait([self._reports, *working])
        # The last that a worker says is there before it ends.
        if not self._reports.poll():
            raise ReplayError("a process that decodes has ended; is there too little memory?")
        told: Written | _Finished | Exception = self._reports.recv()
        return told

    def _work(self, parent_pid: int, at: int) -> None:
        begin_as_helper(parent_pid)
        writing = self._writing[at]
        while isinstance(part := self._next(at), LogPart):
            text = self._text_of(part)
            writing.wait()
            try:
                _write(self._out, text)
            except (OutputError, BrokenPipeError) as error:
                self._sender.send(error)
                return
            self._sender.send(Written(len(part.frames), part.fraction))
            writing.pass_on()
        writing.wait()
        self._sender.send(_Finished(at, self._counted, part))
        writing.pass_on()

    def _next(self, at: int) -> LogPart | LogEnd | None:
        """None for who comes behind the one that saw the end."""
        reading = self._reading[at]
        part = self._source.receive() if reading.wait() else None
        reading.pass_on(is_more=isinstance(part, LogPart))
        return part


def _write(out: int, text: bytes) -> None:
    """All of `text`, however little the system takes at a time."""
    rest = memoryview(text)
    try:
        while rest:
            rest = rest[os.write(out, rest) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"what is decoded cannot be written: {error.strerror}") from error
