"""What a signal table adds to a console's events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from can_stream.frames.batches import FD_LENGTHS, FrameFlag, batch_of
from can_stream.signals.choices import named
from can_stream.signals.decoded import Value, numbers_of
from can_stream.signals.evaluate import decode
from can_stream.signals.table import SignalTable
from can_stream.text.frame_json import FrameRow
from can_stream.text.signals_json import frame_members, values_json
from can_stream.text.timestamps import format_timestamp
from stream_server.streams.signal_sampler import ShownMessage
from stream_server.streams.sse_format import encode_payload

_encode: Final = msgspec.json.Encoder().encode

FindTable: TypeAlias = Callable[[str | None], SignalTable | None]
"""The table of a hash (32 hex digits), None while it is not at hand."""


def no_tables(_table_hash: str | None) -> SignalTable | None:
    """A server that knows no signal tables."""
    return None


def members_of(rows: Sequence[FrameRow], table: SignalTable | None) -> list[bytes]:
    """What the `can_frame` of each frame gains: `message`, `signals`, `undecoded`; b"" without a table."""
    if table is None or not rows:
        return [b""] * len(rows)
    decoded = decode(table, batch_of((*row[:3], _length(row), row.data) for row in rows))
    incomplete = set(decoded.undecoded_row.tolist())
    return [
        frame_members(decoded, place)
        if place in incomplete
        else _complete(table.messages[message].name, values)
        for place, (message, values) in enumerate(zip(decoded.message.tolist(), decoded.rows(), strict=True))
    ]


def _complete(message: str, values: Mapping[str, Value] | None) -> bytes:
    """`frame_members` of a frame of which nothing is undecoded, several times as fast from `Decoded.rows`."""
    if values is None:
        return b""
    return b',"message":' + _encode(message) + b',"signals":' + values_json(values)


def signals_json(shown: ShownMessage, dongle_id: str, more: Mapping[str, object] | None = None) -> bytes:
    """The payload of one `signals` event, with `more` members."""
    payload = {
        "ts": format_timestamp(shown.timestamp_ns // 1000),
        "dongle_id": dongle_id,
        "message": shown.table.messages[shown.message].name,
        "values": msgspec.Raw(values_json(_values(shown))),
        "hash": shown.values.table_hash.hex(),
        **(more or {}),
    }
    return encode_payload("signals", payload)


def _values(shown: ShownMessage) -> dict[str, Value]:
    signals = [shown.table.signals[signal] for signal in shown.values.signal.tolist()]
    numbers = numbers_of(shown.values.kind, shown.values.bits)
    return {signal.name: named(signal, number) for signal, number in zip(signals, numbers, strict=True)}


def _length(row: FrameRow) -> int:
    return FD_LENGTHS[row.dlc] if row.flags & FrameFlag.FD else row.dlc
