"""Warnings and errors of our own loggers, sent to the server as messages `log`."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Final

from can_stream.log_limit import MAX_KINDS, LogLimit, Pace
from can_stream.protocol.control import Log, LogLevel
from can_stream.repeated_lines import kind_of
from edge_agent.host.clock import Clock

MAX_CHARACTERS: Final = 1_000
SUMMARY_SECONDS: Final = 2.0
PACE: Final = Pace(first=1, first_pause_seconds=10.0, longest_pause_seconds=3600.0, most_at_once=40)
# What the libraries below them say of a connection is in our own words already.
OUR_LOGGERS: Final = ("edge_agent", "can_stream")


class LogForwarder(logging.Handler):
    """Hands warnings and errors to `say`, in the event loop; of bursts only the first and a sum.

    A record's `extra` may name the `dongle_id` that it is about, and a `kind` that tells it from others of
    the same words. Tracebacks stay here. `say` must not log.
    """

    def __init__(self, say: Callable[[Log], object], clock: Clock) -> None:
        super().__init__(logging.WARNING)
        self._say = say
        self._clock = clock
        self._limit = LogLimit(PACE)
        self._examples: OrderedDict[Hashable, Log] = OrderedDict()
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Tells what was held back once its pause is over, until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SUMMARY_SECONDS)
            for log in self._summaries():
                self._say(log)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listens to our loggers meanwhile."""
        self._loop = asyncio.get_running_loop()
        for name in OUR_LOGGERS:
            logging.getLogger(name).addHandler(self)
        try:
            yield
        finally:
            for name in OUR_LOGGERS:
                logging.getLogger(name).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """From any thread."""
        try:
            log = _log_of(record)
            kind = kind_of(record)
            with self._guard:
                self._examples[kind] = log
                self._examples.move_to_end(kind)
                while len(self._examples) > MAX_KINDS:
                    self._examples.popitem(last=False)
                passes = self._limit.passes(kind, self._clock.monotonic_seconds())
            if passes and self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._say, log)
        except Exception:  # as every Handler: a line that cannot be made must not stop who writes it
            self.handleError(record)

    def _summaries(self) -> list[Log]:
        now_ns = self._clock.wall_ns()
        with self._guard:
            due = self._limit.summaries(self._clock.monotonic_seconds())
            return [self._summary(self._examples.get(kind), count, now_ns) for kind, count in due]

    @staticmethod
    def _summary(example: Log | None, count: int, now_ns: int) -> Log:
        if example is None:
            return Log(now_ns, "warning", "log_forwarding", f"{count} more warnings were not sent")
        text = f"{count} more like this, the last: {example.message}"[:MAX_CHARACTERS]
        return Log(now_ns, example.level, example.source, text, example.dongle_id)


def _log_of(record: logging.LogRecord) -> Log:
    dongle_id: str | None = getattr(record, "dongle_id", None)
    message = record.getMessage()
    if dongle_id is not None:
        message = message.removeprefix(f"{dongle_id}: ")
    level: LogLevel = "error" if record.levelno >= logging.ERROR else "warning"
    # Whatever stands in a name of a file must not break the JSON.
    text = message[:MAX_CHARACTERS].encode(errors="replace").decode()
    return Log(int(record.created * 1e9), level, record.name.rpartition(".")[2], text, dongle_id)
