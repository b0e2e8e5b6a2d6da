"""The console streams of a server, each made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from stream_server.streams.console import ConsoleStream, StreamLimits
from stream_server.streams.console_signals import FindTable, no_tables
from stream_server.streams.event_ids import IdSource


class StreamHub:
    """One stream per dongle. It keeps every stream: ask only for dongles that the registry knows.

    Whoever gives the streams their ticks sets `on_activity`, of `ConsoleStream`, before the first is made.
    `find_table` gives the signal tables that frames are decoded with.
    """

    def __init__(self, ids: IdSource, limits: StreamLimits, find_table: FindTable = no_tables) -> None:
        self.ids: Final = ids
        self.on_activity: Callable[[ConsoleStream], None] = _nobody_ticks
        self._limits = limits
        self._find_table = find_table
        self._streams: dict[str, ConsoleStream] = {}

    def get(self, dongle_id: str) -> ConsoleStream:
        """The stream of a known dongle."""
        stream = self._streams.get(dongle_id)
        if stream is None:
            stream = ConsoleStream(dongle_id, self.ids, self._limits, self.on_activity, self._find_table)
            self._streams[dongle_id] = stream
        return stream

    def __iter__(self) -> Iterator[ConsoleStream]:
        return iter(tuple(self._streams.values()))

    def __len__(self) -> int:
        return len(self._streams)


def _nobody_ticks(_stream: ConsoleStream) -> None:
    """Until somebody does."""
