"""The live frames and values of one console: what is shown of them, and telling that not all is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from can_stream.frames.batches import FrameBatch, SignalBatch
from can_stream.protocol.packets import decode_packet
from can_stream.text.frame_json import UNSYNCHRONISED_MEMBER, FrameOrigin, can_frame_json
from can_stream.text.timestamps import format_timestamp
from stream_server.moment import Moment
from stream_server.streams.console_signals import FindTable, members_of, signals_json
from stream_server.streams.sampler import Sampler
from stream_server.streams.sampling_log import SamplingLog
from stream_server.streams.signal_sampler import SignalSampler
from stream_server.streams.sse_format import encode_payload

Append: TypeAlias = Callable[[str, bytes, Moment], None]
"""Puts an event, its name and its payload as JSON, into the stream."""


class LiveTraffic:
    """Takes live packets of one dongle in, appends events at each tick.

    `frames` has the sampling limit, of `signals` events too, and the books.
    """

    def __init__(
        self, dongle_id: str, max_frames_per_second: int | None, append: Append, find_table: FindTable
    ) -> None:
        self.frames = Sampler(max_frames_per_second)
        self._dongle_id = dongle_id
        self._append = append
        self._find_table = find_table
        self._values = SignalSampler()
        self._sampling_log = SamplingLog()
        self._clock_synchronised = True

    @property
    def busy(self) -> bool:
        """Whether the next ticks have something to do even if nothing arrives."""
        samplers_wait = self.frames.pending > 0 or self.frames.merging or self._values.waiting
        return samplers_wait or self._sampling_log.watching

    def offer_body(self, body: FrameBatch | SignalBatch, bus: str, now_seconds: float) -> None:
        """Frames, in the order of the bus, or the values of a dongle that sends none."""
        if isinstance(body, FrameBatch):
            if len(body):
                self.frames.offer(body, FrameOrigin(self._dongle_id, bus), now_seconds)
        else:
            table = self._find_table(body.table_hash.hex())
            self._values.offer(body, table, self.frames.max_frames_per_second, now_seconds)

    def offer_packet(self, packet: bytes, bus: str, now_seconds: float) -> None:
        """A packet of frames or values as received."""
        body = decode_packet(packet).body
        assert isinstance(body, FrameBatch | SignalBatch)
        self.offer_body(body, bus, now_seconds)

    def set_clock(self, *, synchronised: bool) -> None:
        """Whether a time service keeps the clock right that stamps what is shown from here on."""
        self._clock_synchronised = synchronised

    def skip(self, frames: int) -> None:
        """So many more frames, and all that wait, count as shown; values that wait are gone."""
        self.frames.skip(frames)
        if self._values.waiting:
            self._values = SignalSampler()

    def show(self, now: Moment, table_hash: str | None) -> None:
        """Appends what is due now; frames are decoded with the table of `table_hash`."""
        self._show_frames(now, table_hash)
        self._show_values(now)
        details = self._note_sampling(now.seconds)
        if details is not None:
            payload = _sampling_payload(details, now, counted=not self._values.merging)
            self._append("log", encode_payload("log", payload), now)

    def _show_frames(self, now: Moment, table_hash: str | None) -> None:
        shown = self.frames.tick(now.seconds)
        if not shown:
            return
        added = members_of([frame.row for frame in shown], self._find_table(table_hash))
        clock = b"" if self._clock_synchronised else UNSYNCHRONISED_MEMBER
        for frame, members in zip(shown, added, strict=True):
            event = can_frame_json(frame.row, frame.origin, frame.frames, members + clock)
            self._append("can_frame", event, now)

    def _show_values(self, now: Moment) -> None:
        values = self._values
        table = self._find_table(values.table_hash) if values.merged else None
        for shown in values.tick(table, self.frames.max_frames_per_second, now.seconds):
            clock = {} if self._clock_synchronised else {"clock_synchronised": False}
            self._append("signals", signals_json(shown, self._dongle_id, clock), now)

    def _note_sampling(self, now_seconds: float) -> dict[str, object] | None:
        """Rates of both kinds together: a message is what one frame said."""
        frames, values = self.frames, self._values
        rates = (
            frames.frames_in.count(now_seconds) + values.messages_in.count(now_seconds),
            frames.frames_out.count(now_seconds) + values.messages_out.count(now_seconds),
        )
        return self._sampling_log.note(frames.merging or values.merging, *rates, now_seconds)


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
