"""The console streams of a server, each made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from stream_server.moment import Moment
from stream_server.streams.console import ConsoleStream, StreamLimits
from stream_server.streams.console_signals import FindTable, no_tables
from stream_server.streams.dongle_feed import DongleFeed
from stream_server.streams.event_ids import IdSource
from stream_server.streams.subject import StreamName, Subject, Summarise, of_dongle, of_group


class StreamHub:
    """One stream per dongle and one per group. It keeps every dongle's: ask only for those that are known.

    Whoever gives the streams their ticks sets `on_activity`, of `ConsoleStream`, before the first is made.
    `find_table` gives the signal tables that frames are decoded with.
    """

    def __init__(self, ids: IdSource, limits: StreamLimits, find_table: FindTable = no_tables) -> None:
        self.ids: Final = ids
        self.on_activity: Callable[[ConsoleStream], None] = _nobody_ticks
        self._limits = limits
        self._find_table = find_table
        self._streams: dict[StreamName, ConsoleStream] = {}
        self._feeds: dict[str, DongleFeed] = {}

    def get(self, dongle_id: str) -> ConsoleStream:
        """The stream of a known dongle."""
        return self.feed(dongle_id).own

    def feed(self, dongle_id: str) -> DongleFeed:
        """What is to be told of a known dongle."""
        feed = self._feeds.get(dongle_id)
        if feed is None:
            feed = self._feeds[dongle_id] = DongleFeed(dongle_id, self._make(of_dongle(dongle_id)))
        return feed

    def showing(self, dongle_ids: Iterable[str]) -> list[ConsoleStream]:
        """Every stream that shows one of these dongles, once."""
        return list(dict.fromkeys(stream for one in dongle_ids for stream in self.feed(one).streams))

    def group(self, group_id: str) -> ConsoleStream:
        """The stream of a group that was added; KeyError for another."""
        return self._streams[StreamName("group", group_id)]

    def groups(self) -> list[ConsoleStream]:
        """The streams of all groups."""
        return [stream for name, stream in self._streams.items() if name.kind == "group"]

    def add_group(
        self, group_id: str, dongle_ids: tuple[str, ...], summarise: Summarise, now: Moment
    ) -> ConsoleStream:
        """The stream of a new group: it shows what comes of its dongles from here on."""
        stream = self._make(of_group(group_id, dongle_ids, summarise))
        for dongle_id in dongle_ids:
            self.feed(dongle_id).show_on(stream, now)
        return stream

    def remove_group(self, group_id: str) -> None:
        """The group is no more: who watches is given what there is, and the end. KeyError as `group`."""
        stream = self._streams.pop(StreamName("group", group_id))
        for dongle_id in stream.subject.dongle_ids:
            self.feed(dongle_id).leave(stream)
        stream.ended = True
        self.on_activity(stream)

    def _make(self, subject: Subject) -> ConsoleStream:
        stream = ConsoleStream(subject, self.ids, self._limits, self.on_activity, self._find_table)
        self._streams[subject.name] = stream
        return stream

    def __iter__(self) -> Iterator[ConsoleStream]:
        return iter(tuple(self._streams.values()))

    def __len__(self) -> int:
        return len(self._streams)


def _nobody_ticks(_stream: ConsoleStream) -> None:
    """Until somebody does."""
