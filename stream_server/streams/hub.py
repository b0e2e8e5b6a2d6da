"""The console streams of a server, each made when it is first asked for (pure)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stream_server.streams.console import ConsoleStream, StreamLimits
from stream_server.streams.console_signals import FindTable, no_tables
from stream_server.streams.ring import IdSource


class StreamHub:
    """One stream per dongle. It keeps every stream: ask only for dongles that the registry knows."""

    def __init__(
        self,
        ids: IdSource,
        limits: StreamLimits,
        on_activity: Callable[[ConsoleStream], None],
        find_table: FindTable = no_tables,
    ) -> None:
        self._ids = ids
        self._limits = limits
        self._on_activity = on_activity
        self._find_table = find_table
        self._streams: dict[str, ConsoleStream] = {}

    def get(self, dongle_id: str) -> ConsoleStream:
        """The stream of a known dongle."""
        stream = self._streams.get(dongle_id)
        if stream is None:
            stream = ConsoleStream(dongle_id, self._ids, self._limits, self._on_activity, self._find_table)
            self._streams[dongle_id] = stream
        return stream

    def __iter__(self) -> Iterator[ConsoleStream]:
        return iter(tuple(self._streams.values()))

    def __len__(self) -> int:
        return len(self._streams)
