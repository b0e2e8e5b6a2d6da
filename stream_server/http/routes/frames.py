"""The recording of a dongle, as candump text or JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

import msgspec
import numpy as np
from msgspec.structs import replace

from can_stream.frames.batches import FrameBatch
from can_stream.protocol.errors import PacketError
from can_stream.protocol.packets import Gap, decode_packet
from can_stream.signals.evaluate import decode
from can_stream.signals.table import SignalTable
from can_stream.text.candump_format import format_candump
from can_stream.text.frame_json import UNSYNCHRONISED_MEMBER, FrameOrigin, can_frame_json, rows_of, time_texts
from can_stream.text.signals_json import JsonLines
from stream_server.errors import ApiError
from stream_server.http.api import API_PREFIX, Call, Route
from stream_server.http.long_answers import LongAnswer
from stream_server.recording import clock_store, recorded_pages
from stream_server.recording.clock_correction import Unsynchronised
from stream_server.recording.gap_news import GapNews, gap_members
from stream_server.storage.database import Database

_CLOCKS: Final = ("recorded", "corrected")
_TYPES: Final = {"candump": "text/plain", "jsonl": "application/jsonl"}
_PIECE_FRAMES: Final = 512
_Body: TypeAlias = tuple[FrameBatch | GapNews, Unsynchronised | None]


class _FrameDecoder:
    """Frames as JSON lines with what one table knows of them."""

    def __init__(self, table: SignalTable) -> None:
        self._table = table
        self._json = JsonLines(table)

    def lines(self, batch: FrameBatch, origin: FrameOrigin) -> bytes:
        """A line for each frame."""
        return self._json.lines(decode(self._table, batch), batch, origin, count=1)


_decoders: Final[WeakValueDictionary[bytes, _FrameDecoder]] = WeakValueDictionary()


async def frames(call: Call) -> LongAnswer:
    """Every recorded frame from a time to before another, in the order of the bus."""
    dongle = call.services.fleet.dongle(call.path("dongle_id"))
    wanted = call.request.query.get("format", "candump")
    if wanted not in _TYPES:
        raise ApiError(400, "BAD_REQUEST", "format must be candump or jsonl", {"field": "format"})
    clock = call.request.query.get("clock", "recorded")
    if clock not in _CLOCKS:
        raise ApiError(400, "BAD_REQUEST", "clock must be recorded or corrected", {"field": "clock"})
    from_ns, to_ns = _moment(call, "from"), _moment(call, "to")
    recording = call.services.recording
    origin, corrects = FrameOrigin(dongle.dongle_id, dongle.bus), clock == "corrected"

    def headers() -> dict[str, str]:
        gaps, lost = recording.read_here(partial(recorded_pages.known_gaps, dongle_id=dongle.dongle_id))
        return {"X-Known-Gaps": str(gaps), "X-Frames-Lost": str(lost)}

    async def begin() -> Iterator[bytes]:
        tables = call.services.signal_tables
        table = await tables.fetch(dongle.signal_table) if wanted == "jsonl" else None
        return _pieces(
            _bodies(recording, dongle.dongle_id, from_ns, to_ns),
            lambda: _Lines(wanted, origin, None if table is None else _decoder_of(table), corrects=corrects),
        )

    return LongAnswer(f"{_TYPES[wanted]}; charset=utf-8", headers, begin)


def _pieces(bodies: Iterable[_Body | None], make_lines: Callable[[], _Lines]) -> Iterator[bytes]:
    """The lines of some hundred frames at a time; nothing where a step has found none."""
    lines = make_lines()  # here, since a table can be large
    for found in bodies:
        if found is None:
            yield b""
            continue
        body, unsynchronised = found
        if isinstance(body, GapNews):
            yield lines.of(body, None)
            continue
        for first in range(0, len(body), _PIECE_FRAMES):
            yield lines.of(body[first : first + _PIECE_FRAMES], unsynchronised)


def _decoder_of(table: SignalTable) -> _FrameDecoder:
    """What is kept of a table's texts is large: there is one, for all that read with it now."""
    decoder = _decoders.get(table.hash)
    if decoder is None:
        decoder = _decoders[table.hash] = _FrameDecoder(table)
    return decoder


def _moment(call: Call, name: str) -> int | None:
    text = call.request.query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        at_ns = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6) * 1000
        if abs(at_ns) < 2**63:
            return at_ns
    except (ValueError, OverflowError):
        pass
    message = f"{name} must be a time from 1678 to 2261, such as 2025-12-22T15:31:02Z"
    raise ApiError(400, "BAD_REQUEST", message, {"field": name})


def _bodies(
    recording: Database, dongle_id: str, from_ns: int | None, to_ns: int | None
) -> Iterator[_Body | None]:
    """What was recorded, page by page, since a recording is large; None before each page."""
    clocks = recording.read_here(partial(clock_store.load, dongle_id=dongle_id))
    cursor: recorded_pages.Cursor | None = recorded_pages.Cursor()
    while cursor is not None:
        page, cursor = recording.read_here(
            partial(recorded_pages.page, dongle_id=dongle_id, after=cursor, from_ns=from_ns, to_ns=to_ns)
        )
        yield None
        for record in page:
            if isinstance(record.body, GapNews):
                yield record.body, None
                continue
            if record.body is None:
                recording.found_damage(f"packet {record.seq} of {dongle_id} is not what was recorded")
                continue
            try:
                body = decode_packet(record.body).body
            except PacketError as error:
                recording.found_damage(f"packet {record.seq} of {dongle_id} cannot be read: {error}")
                continue
            if isinstance(body, Gap):  # recorded by a server of before
                yield GapNews(None, body.reason, body.frames, body.first_ns, body.last_ns), None
            elif isinstance(body, FrameBatch):
                yield _within(body, from_ns, to_ns), clocks.of(record.start_pk, record.seq)


def _within(batch: FrameBatch, from_ns: int | None, to_ns: int | None) -> FrameBatch:
    keep = np.ones(len(batch), np.bool_)
    if from_ns is not None:
        keep &= batch.timestamp_ns >= from_ns
    if to_ns is not None:
        keep &= batch.timestamp_ns < to_ns
    return batch if keep.all() else batch[keep]


class _Lines:
    """What one reader gets of the recording: `wanted` is the format, `corrects` is for candump."""

    def __init__(
        self, wanted: str, origin: FrameOrigin, decoder: _FrameDecoder | None, *, corrects: bool
    ) -> None:
        self._candump = wanted == "candump"
        self._origin = origin
        self._channel = origin.bus.rpartition("/")[2].replace(" ", "_")
        self._decoder = decoder
        self._corrects = corrects

    def of(self, body: FrameBatch | GapNews, unsynchronised: Unsynchronised | None) -> bytes:
        """The lines of one packet."""
        if isinstance(body, GapNews):
            return b"" if self._candump else _gap_line(body, self._origin)
        if self._candump:
            shown = _corrected(body, unsynchronised) if self._corrects and unsynchronised else body
            return format_candump(shown, self._channel)
        lines = self._json(body)
        return lines if unsynchronised is None else _marked(lines, body, unsynchronised)

    def _json(self, batch: FrameBatch) -> bytes:
        if self._decoder is not None:
            return self._decoder.lines(batch, self._origin)
        return b"".join(can_frame_json(row, self._origin, 1) + b"\n" for row in rows_of(batch))


def _corrected(batch: FrameBatch, unsynchronised: Unsynchronised) -> FrameBatch:
    """The frames with the times that they really had, as far as that is known."""
    return replace(batch, timestamp_ns=batch.timestamp_ns + (unsynchronised.shift_ns or 0))


def _marked(lines: bytes, batch: FrameBatch, unsynchronised: Unsynchronised) -> bytes:
    """Each line with the mark, and with the corrected time where it is known."""
    members = [UNSYNCHRONISED_MEMBER] * len(batch)
    if unsynchronised.shift_ns is not None:
        times = time_texts(_corrected(batch, unsynchronised).timestamp_ns)
        members = [
            b'%b,"corrected_ts":"%b"' % (member, time.tobytes())
            for member, time in zip(members, times, strict=True)
        ]
    return b"".join(
        line[:-1] + member + b"}\n" for line, member in zip(lines.splitlines(), members, strict=True)
    )


def _gap_line(gap: GapNews, origin: FrameOrigin) -> bytes:
    return msgspec.json.encode({"type": "gap", "dongle_id": origin.dongle_id, **gap_members(gap)}) + b"\n"


ROUTES: Final = (
    Route(
        "GET",
        f"{API_PREFIX}/dongles/{{dongle_id}}/frames",
        "viewer",
        frames,
        "The recorded frames; X-Frames-Lost says how many are known to be missing in the whole recording",
        response_type="text/plain",
        query={
            "from": "leave out frames before this time (ISO 8601)",
            "to": "leave out frames at or after this time",
            "clock": "recorded (default), or corrected: candump lines have the time that frames of a clock "
            "that was not synchronised really had, where it is known; jsonl always has both",
            "format": "candump (default) or jsonl: decoded with the dongle's current signal table, with a "
            "line of type gap where frames are missing",
        },
    ),
)
