"""The live frames and values of one console: what is shown of them, and telling that not all is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.protocol.packets import decode_packet
from can_stream.text.frame_json import UNSYNCHRONISED_MEMBER, FrameOrigin, can_frame_json
from can_stream.text.timestamps import format_timestamp
from stream_server.moment import Moment
from stream_server.streams.console_signals import FindTable, members_of, signals_json
from stream_server.streams.sampler import Sampler, ShownFrame
from stream_server.streams.sampling_log import SamplingLog
from stream_server.streams.signal_sampler import SignalSampler
from stream_server.streams.sse_format import encode_payload

Append: TypeAlias = Callable[[str, bytes, Moment], None]
"""Puts an event, its name and its payload as JSON, into the stream."""


class _Dongle:
    """What is of one dongle alone: its values, its signal table, and whether its clock is right."""

    def __init__(self) -> None:
        self.values = SignalSampler()
        self.table_hash: str | None = None
        self.clock_synchronised = True


class LiveTraffic:
    """Takes live packets of dongles in, appends events at each tick.

    `frames` has the sampling limit, of `signals` events too, and the books; it sees the frames of all dongles
    as those of one bus, in the order in which they come.
    """

    def __init__(
        self,
        dongle_ids: Iterable[str],
        max_frames_per_second: int | None,
        append: Append,
        find_table: FindTable,
    ) -> None:
        self.frames = Sampler(max_frames_per_second)
        self._dongles = {dongle_id: _Dongle() for dongle_id in dongle_ids}
        self._append = append
        self._find_table = find_table
        self._sampling_log = SamplingLog()

    @property
    def busy(self) -> bool:
        """Whether the next ticks have something to do even if nothing arrives."""
        samplers_wait = self.frames.pending > 0 or self.frames.merging
        return samplers_wait or any(one.waiting for one in self._values()) or self._sampling_log.watching

    @property
    def books(self) -> dict[str, int]:
        """What lets a client check its own."""
        return {"frames_received": self.frames.received, "frames_pending": self.frames.pending}

    def offer_body(self, body: FrameBatch | SignalBatch, origin: FrameOrigin, now_seconds: float) -> None:
        """Frames, in the order of the bus, or the values of a dongle that sends none."""
        if isinstance(body, FrameBatch):
            if len(body):
                self.frames.offer(body, origin, now_seconds)
        elif origin.dongle_id is not None:
            table = self._find_table(body.table_hash.hex())
            self._dongles[origin.dongle_id].values.offer(body, table, self._values_limit(), now_seconds)

    def offer_packet(self, packet: bytes, origin: FrameOrigin, now_seconds: float) -> None:
        """A packet of frames or values as received."""
        body = decode_packet(packet).body
        assert isinstance(body, FrameBatch | SignalBatch)
        self.offer_body(body, origin, now_seconds)

    def set_clock(self, dongle_id: str, *, synchronised: bool) -> None:
        """Whether a time service keeps the clock right that stamps what is shown of it from here on."""
        self._dongles[dongle_id].clock_synchronised = synchronised

    def set_table(self, dongle_id: str, table_hash: str | None) -> None:
        """The table that the dongle's frames are decoded with."""
        self._dongles[dongle_id].table_hash = table_hash

    def skip(self, frames: int) -> None:
        """So many more frames, and all that wait, count as shown; values that wait are gone."""
        self.frames.skip(frames)
        for dongle in self._dongles.values():
            if dongle.values.waiting:
                dongle.values = SignalSampler()

    def show(self, now: Moment) -> None:
        """Appends what is due now."""
        self._show_frames(now)
        for dongle_id, dongle in self._dongles.items():
            self._show_values(dongle_id, dongle, now)
        details = self._note_sampling(now.seconds)
        if details is not None:
            counted = not any(values.merging for values in self._values())
            payload = _sampling_payload(details, now, counted=counted)
            self._append("log", encode_payload("log", payload), now)

    def _values(self) -> list[SignalSampler]:
        return [dongle.values for dongle in self._dongles.values()]

    def _values_limit(self) -> int | None:
        """What each dongle that sends values may show of them: its part of the limit."""
        limit = self.frames.max_frames_per_second
        if limit is None or len(self._dongles) == 1:
            return limit
        return max(1, limit // max(1, sum(values.table_hash is not None for values in self._values())))

    def _show_frames(self, now: Moment) -> None:
        shown = self.frames.tick(now.seconds)
        if not shown:
            return
        for frame, members in zip(shown, self._members(shown), strict=True):
            event = can_frame_json(frame.row, frame.origin, frame.frames, members)
            self._append("can_frame", event, now)

    def _members(self, shown: Sequence[ShownFrame]) -> list[bytes]:
        """What each dongle's own table and clock add to the event of each frame."""
        added = [b""] * len(shown)
        for dongle_id, dongle in self._dongles.items():
            places = [place for place, frame in enumerate(shown) if frame.origin.dongle_id == dongle_id]
            rows = [shown[place].row for place in places]
            clock = b"" if dongle.clock_synchronised else UNSYNCHRONISED_MEMBER
            found = members_of(rows, self._find_table(dongle.table_hash)) if rows else []
            for place, members in zip(places, found, strict=True):
                added[place] = members + clock
        return added

    def _show_values(self, dongle_id: str, dongle: _Dongle, now: Moment) -> None:
        values = dongle.values
        table = self._find_table(values.table_hash) if values.merged else None
        clock = {} if dongle.clock_synchronised else {"clock_synchronised": False}
        for shown in values.tick(table, self._values_limit(), now.seconds):
            self._append("signals", signals_json(shown, dongle_id, clock), now)

    def _note_sampling(self, now_seconds: float) -> dict[str, object] | None:
        """Rates of both kinds together: a message is what one frame said."""
        frames, values = self.frames, self._values()
        rates = (
            frames.frames_in.count(now_seconds) + sum(one.messages_in.count(now_seconds) for one in values),
            frames.frames_out.count(now_seconds) + sum(one.messages_out.count(now_seconds) for one in values),
        )
        merging = frames.merging or any(one.merging for one in values)
        return self._sampling_log.note(merging, *rates, now_seconds)


def _sampling_payload(details: dict[str, object], now: Moment, *, counted: bool) -> dict[str, object]:
    shown, received = details["frames_out_per_second"], details["frames_in_per_second"]
    rule = "`count` says how many each stands for" if counted else "of each signal the newest value stays"
    return {
        "ts": format_timestamp(now.wall_us),
        "level": "warning",
        "source": "sampler",
        "message": f"the console shows {shown} of {received} frames/s; {rule}"
        if details["active"]
        else "the console shows every frame again",
        "details": details,
    }
