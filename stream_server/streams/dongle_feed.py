"""What is said of one dongle, on its way to every stream that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.text.frame_json import FrameOrigin
from stream_server.moment import Moment
from stream_server.streams.console import ConsoleStream


class DongleFeed:
    """One dongle's producers talk to it, so that none of them need know who shows the dongle.

    `own`: the dongle's own stream, the first of `streams`. A stream that comes later is told what holds:
    `presence` (None: not told yet), `table_hash`, and how the clock is.
    """

    def __init__(self, dongle_id: str, own: ConsoleStream) -> None:
        self.dongle_id: Final = dongle_id
        self.own: Final = own
        self.streams: tuple[ConsoleStream, ...] = (own,)
        self.presence: Mapping[str, Any] | None = None
        self.table_hash: str | None = None
        self._clock_synchronised = True

    def show_on(self, stream: ConsoleStream, now: Moment) -> None:
        """One more stream shows the dongle from here on."""
        self.streams = (*self.streams, stream)
        stream.set_table(self.dongle_id, self.table_hash)
        stream.set_clock(self.dongle_id, now, synchronised=self._clock_synchronised)
        if self.presence is not None:
            stream.set_presence(self.presence, now)

    def leave(self, stream: ConsoleStream) -> None:
        """`stream` shows the dongle no more."""
        self.streams = tuple(one for one in self.streams if one is not stream)

    def offer_packet(
        self, body: FrameBatch | SignalBatch, packet: bytes, origin: FrameOrigin, now: Moment
    ) -> None:
        """As `ConsoleStream.offer_packet`. Streams that nobody watches keep the same bytes, not copies."""
        for stream in self.streams:
            stream.offer_packet(body, packet, origin, now)

    def set_presence(self, payload: Mapping[str, Any], now: Moment) -> None:
        """As `ConsoleStream.set_presence`."""
        self.presence = payload
        for stream in self.streams:
            stream.set_presence(payload, now)

    def set_clock(self, now: Moment, *, synchronised: bool) -> None:
        """As `ConsoleStream.set_clock`."""
        self._clock_synchronised = synchronised
        for stream in self.streams:
            stream.set_clock(self.dongle_id, now, synchronised=synchronised)

    def set_table(self, table_hash: str | None) -> None:
        """As `ConsoleStream.set_table`."""
        self.table_hash = table_hash
        for stream in self.streams:
            stream.set_table(self.dongle_id, table_hash)
