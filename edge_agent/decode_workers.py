"""Several processes that decode the parts of logs, and write what they made of them in the logs' order."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self

from edge_agent.decode_output import Summary
from edge_agent.errors import EdgeAgentError, ReplayError
from edge_agent.heap import keep_freed_memory
from edge_agent.read_ahead import LogEnd, LogPart, ReadAhead

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


class _Turn:
    """One place in a ring of processes that take turns: where its turn comes from, and where it goes."""

    def __init__(self, before: Connection, behind: Connection) -> None:
        self._before, self._behind = before, behind

    def wait(self) -> bool:
        """Until it is this one's turn: whether there is more to do. EOFError if the one before is gone."""
        return self._before.recv_bytes(1) == _GO

    def pass_on(self, *, is_more: bool = True) -> None:
        """It is the next one's turn, if it waits for one."""
        with contextlib.suppress(BrokenPipeError):
            self._behind.send_bytes(_GO if is_more else _NO_MORE)

    def close(self) -> None:
        self._before.close()
        self._behind.close()


def _ring(count: int) -> list[_Turn]:
    pipes = [_FORK.Pipe(duplex=False) for _ in range(count)]
    turns = [_Turn(pipes[at][0], pipes[(at + 1) % count][1]) for at in range(count)]
    turns[-1].pass_on()
    return turns


class DecodeWorkers:
    """As many workers as the machine has cores for and the logs have parts for; iterate for what they do.

    `text_of` is called in a worker. `summary` and `end` are there once all is written.
    """

    def __init__(
        self,
        source: ReadAhead,
        text_of: Callable[[LogPart], bytes],
        summary: Summary,
        out: BinaryIO,
    ) -> None:
        self.summary = Summary()
        self.end = LogEnd(0, [], None)
        self._source, self._text_of, self._counted, self._out = source, text_of, summary, out
        self._reports, self._sender = _FORK.Pipe(duplex=False)
        count = max(1, min(_MAX_WORKERS, len(os.sched_getaffinity(0)), source.parts))
        self._reading, self._writing = _ring(count), _ring(count)
        self._workers = [_FORK.Process(target=self._work, args=(at,), daemon=True) for at in range(count)]

    def __enter__(self) -> Self:
        self._out.flush()
        for worker in self._workers:
            worker.start()
        self._sender.close()
        for turn in (*self._reading, *self._writing):
            turn.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.kill()
            worker.join()
        self._reports.close()

    def __iter__(self) -> Iterator[Written]:
        """Raises EdgeAgentError where the logs cannot be read on, OSError where nothing can be written."""
        working = {at: worker.sentinel for at, worker in enumerate(self._workers)}
        while working:
            told = self._told(list(working.values()))
            if isinstance(told, Written):
                yield told
            elif isinstance(told, _Finished):
                del working[told.worker]
                self.summary.add(told.summary)
                self.end = told.end or self.end
            elif isinstance(told, (EdgeAgentError, OSError)):
                raise told
        if self.end.error is not None:
            raise ReplayError(self.end.error)

    def _told(self, working: list[int]) -> object:
        """The next that one of these workers has to say."""
        with contextlib.suppress(EOFError, OSError):
            if self._reports in wait([self._reports, *working]):
                return self._reports.recv()
        raise ReplayError("a process that decodes has ended; is there too little memory?")

    def _work(self, at: int) -> None:
        """A worker: ends quietly where nobody is left to do it for."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        keep_freed_memory()
        self._reports.close()
        for other, turns in enumerate(zip(self._reading, self._writing, strict=True)):
            if other != at:
                for turn in turns:
                    turn.close()
        with contextlib.suppress(BrokenPipeError, EOFError):
            try:
                while self._work_on_a_part(at):
                    pass
            except (EdgeAgentError, OSError) as error:
                self._sender.send(error)

    def _work_on_a_part(self, at: int) -> bool:
        """False when there is none."""
        reading, writing = self._reading[at], self._writing[at]
        part = self._source.receive() if reading.wait() else None
        reading.pass_on(is_more=isinstance(part, LogPart))
        text = self._text_of(part) if isinstance(part, LogPart) else b""
        writing.wait()
        if isinstance(part, LogPart):
            self._out.write(text)
            self._out.flush()
            self._sender.send(Written(len(part.frames), part.fraction))
        else:
            self._sender.send(_Finished(at, self._counted, part))
        writing.pass_on()
        return isinstance(part, LogPart)
