"""Decoded frames as text: JSON lines of normalized frames, or a CSV row for each value (pure)."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import msgspec

from signal_decoding.decoded import Decoded, Value
from signal_decoding.evaluate import decode
from signal_decoding.table import SignalTable
from wire_protocol.batches import FrameBatch
from wire_protocol.normalized import FrameOrigin, FrameRow, can_frame_json, rows_of
from wire_protocol.timestamps import format_timestamp

CSV_HEADER = ("ts", "bus", "id", "message", "signal", "value", "raw", "unit")
_encode = msgspec.json.Encoder().encode
_NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


@dataclass(slots=True)
class Summary:
    """What was decoded and what was not."""

    frames: int = 0
    known: int = 0
    undecoded: int = 0
    unknown_ids: set[tuple[int, bool]] = field(default_factory=set)

    def __str__(self) -> str:
        unknown = self.frames - self.known
        return (
            f"{self.frames} frames, {self.known} of known messages; {unknown} frames of "
            f"{len(self.unknown_ids)} unknown ids; {self.undecoded} signals could not be decoded"
        )


class SignalFilter:
    """Which signals are wanted: globs on MESSAGE.SIGNAL, or on SIGNAL where there is no dot; none: all."""

    def __init__(self, globs: tuple[str, ...], table: SignalTable) -> None:
        self.is_open = not globs
        self._wanted = {
            (message.name, signal.name)
            for message in table.messages
            for signal in message.signals
            if any(_matches(glob, message.name, signal.name) for glob in globs)
        }

    def keep(self, message: str | None, values: Mapping[str, Value]) -> dict[str, Value]:
        """The wanted ones of a message's values."""
        return {name: value for name, value in values.items() if (message, name) in self._wanted}


def _matches(glob: str, message: str, signal: str) -> bool:
    return fnmatchcase(f"{message}.{signal}" if "." in glob else signal, glob)


class DecodedText:
    """Lines for batches of one bus; `summary` grows. `raw` adds the unscaled numbers."""

    def __init__(self, table: SignalTable, wanted: SignalFilter, *, raw: bool) -> None:
        self.summary = Summary()
        self._table = table
        self._wanted = wanted
        self._raw = raw
        self._units = {
            (message.name, signal.name): signal.unit or ""
            for message in table.messages
            for signal in message.signals
        }

    def json_lines(self, frames: FrameBatch, bus: str) -> bytes:
        """One normalized frame per line, unknown ones too unless signals were chosen."""
        origin = FrameOrigin(None, bus)
        lines = []
        for index, row, message, values, decoded in self._rows(frames):
            if message is None:
                if self._wanted.is_open:
                    lines.append(can_frame_json(row, origin, None))
                continue
            members: dict[str, object] = {"message": message, "signals": _finite(values)}
            if self._raw:
                raw = decoded.raw_of(index)
                members["signals_raw"] = _finite({name: raw[name] for name in values})
            # Most batches have none, and then no frame needs to be asked.
            if self._wanted.is_open and len(decoded.undecoded_row):
                members |= {"undecoded": names} if (names := decoded.undecoded_of(index)) else {}
            lines.append(can_frame_json(row, origin, None)[:-1] + b"," + _encode(members)[1:])
        return b"".join(line + b"\n" for line in lines)

    def csv_rows(self, frames: FrameBatch, bus: str) -> bytes:
        """One row per value: the columns of CSV_HEADER."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        for index, row, message, values, decoded in self._rows(frames):
            if message is None:
                continue
            raw = decoded.raw_of(index) if self._raw else {}
            ts = format_timestamp(row.timestamp_ns // 1000)
            for name, value in values.items():
                unit = self._units.get((message, name), "")
                cells = (
                    ts,
                    bus,
                    f"0x{row.arbitration_id:03X}",
                    message,
                    name,
                    value,
                    raw.get(name, ""),
                    unit,
                )
                writer.writerow(cells)
        return out.getvalue().encode()

    def _rows(
        self, frames: FrameBatch
    ) -> Iterator[tuple[int, FrameRow, str | None, dict[str, Value], Decoded]]:
        decoded = decode(self._table, frames)
        self._count(frames, decoded)
        for index, (row, values) in enumerate(zip(rows_of(frames), decoded.rows(), strict=True)):
            message = decoded.message_name(index)
            kept = values or {}
            if message is not None and not self._wanted.is_open:
                kept = self._wanted.keep(message, kept)
                if not kept:
                    continue
            yield index, row, message, kept, decoded

    def _count(self, frames: FrameBatch, decoded: Decoded) -> None:
        summary = self.summary
        unknown = decoded.message < 0
        summary.frames += len(frames)
        summary.known += len(frames) - int(unknown.sum())
        summary.undecoded += len(decoded.undecoded_row)
        extended = (frames.flags[unknown] & 1) != 0
        summary.unknown_ids |= set(
            zip(frames.arbitration_id[unknown].tolist(), extended.tolist(), strict=True)
        )


def _finite(values: Mapping[str, Value]) -> dict[str, Value]:
    """JSON has no NaN and no infinity: they become strings."""
    return {
        name: _NOT_FINITE.get(value, "NaN")
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for name, value in values.items()
    }
