"""Nobody fills the log by doing the same again: lines of one kind are summed up, whoever writes them."""

from __future__ import annotations

import atexit
import logging
import re
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Final

from can_stream.log_limit import LogLimit, Pace

PACE: Final = Pace(first=100, first_pause_seconds=60.0, longest_pause_seconds=60.0, most_at_once=2_000)
TRACEBACK_WEIGHT: Final = 20
_IS_SUM: Final = "is_sum_of_repeated_lines"


def kind_of(record: logging.LogRecord) -> Hashable:
    """What two lines have in common that say the same of different things.

    A record's `extra` may name the `dongle_id` that it is about, and a `kind`.
    """
    said = str(record.msg)
    if not record.args:
        said = re.sub(r"\d+", "#", said.partition("\n")[0][:200])
    error = record.exc_info[0] if record.exc_info else None
    about = getattr(record, "dongle_id", None), getattr(record, "kind", "")
    return (record.name, record.levelno, said, error, *about)


class RepeatedLines(logging.Filter):
    """Of each kind the first lines pass, then one a minute that says how many more there were.

    A traceback takes the place of `TRACEBACK_WEIGHT` lines. What is below INFO somebody has asked for.
    """

    def __init__(self, handler: logging.Handler, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._handler = handler
        self._now = now
        self._limit = LogLimit(PACE)
        self._last: dict[Hashable, tuple[Any, Any]] = {}
        self._guard = threading.Lock()
        self._timer: threading.Timer | None = None

    @classmethod
    def limit(cls, handler: logging.Handler) -> None:
        """From now on this handler writes no more than that; what is left over it says in the end."""
        limited = cls(handler)
        handler.addFilter(limited)
        atexit.register(limited.tell, float("inf"))

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is written; from any thread."""
        if record.levelno < logging.INFO or hasattr(record, _IS_SUM):
            return True
        kind = kind_of(record)
        with self._guard:
            passes = self._limit.passes(kind, self._now(), TRACEBACK_WEIGHT if record.exc_info else 1)
            if not passes:
                self._last[kind] = (record.msg, record.args)
                self._look_later()
        return passes

    def tell(self, now_seconds: float) -> None:
        """Write how many lines were held back of each kind whose minute is over."""
        with self._guard:
            due = [
                (kind, count, self._last.pop(kind, None))
                for kind, count in self._limit.summaries(now_seconds)
            ]
        for kind, count, last in due:
            name, level = (kind[0], kind[1]) if isinstance(kind, tuple) else (__name__, logging.WARNING)
            message = "of other kinds" if last is None else _text(*last)
            said = "%d more like this within a minute, the last: %s"
            record = logging.LogRecord(name, level, "", 0, said, (count, message), None)
            setattr(record, _IS_SUM, True)
            self._handler.handle(record)

    def _look_later(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(PACE.first_pause_seconds, self._look)
            self._timer.daemon = True
            self._timer.start()

    def _look(self) -> None:
        with self._guard:
            self._timer = None
        self.tell(self._now())
        with self._guard:
            if self._last:
                self._look_later()


def _text(message: Any, values: Any) -> str:
    try:
        return (str(message) % values if values else str(message)).partition("\n")[0]
    except (TypeError, ValueError):
        return str(message)
