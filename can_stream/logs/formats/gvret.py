"""GVRET CSV, the native log of SavvyCAN: the header names the columns, the data bytes come last.

`Time Stamp,ID,Extended[,Dir],Bus,LEN,D1,...`: microseconds, hexadecimal id, true or false, Rx or Tx, a bus
number, the number of bytes, and the bytes in hexadecimal, most often with a comma behind. Spreadsheets write
semicolons or tabs for commas, and quotes. The firmware's clock has 32 bits and wraps after 71 minutes. Public
sources: SavvyCAN's CSV files and the firmware that writes them (collin80/GVRET, collin80/ESP32RET).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.errors import LineError
from can_stream.frames.batches import CLASSIC_DATA_BYTES, FD_LENGTHS, STANDARD_ID_MASK, FrameBatch, FrameFlag
from can_stream.logs.formats.gvret_clock import GvretClock
from can_stream.logs.log_blocks import (
    BLANK,
    HEADER,
    MAX_LINE_BYTES,
    MAX_SECONDS,
    ChannelNames,
    LogBatch,
    ParsedBlock,
    Row,
    RowCollector,
    check_identifier,
    check_not_shortened,
    merge_lines,
)
from can_stream.text.text_columns import (
    Mask,
    Positions,
    TextBlock,
    Words,
    are_decimal,
    are_hex,
    decimal,
    first,
    hex_number,
    last,
)

DEFAULT_HEADER: Final = b"Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8"
_NS_PER_MICRO: Final = 1000
_HIGHEST_BUS: Final = 255
# Spreadsheets write truth values in the language of the one who saved.
_TRUTHS: Final = dict.fromkeys(
    (b"true", b"1", b"wahr", b"vrai", b"vero", b"verdadero"), True
) | dict.fromkeys((b"false", b"0", b"falsch", b"faux", b"falso"), False)
_DIRECTIONS: Final = {b"rx": 0, b"tx": int(FrameFlag.TX)}
_INTEGER: Final = re.compile(rb"-?\d{1,19}")
_HEX: Final = re.compile(rb"(?:0[xX])?([0-9A-Fa-f]{1,8})")
_BYTE: Final = re.compile(rb"(?:0[xX])?([0-9A-Fa-f]{1,2})")
_DELIMITERS: Final = (b",", b";", b"\t")
# What tells Excel the delimiter.
_SEPARATOR: Final = re.compile(rb"sep=[,;\t]", re.IGNORECASE)
_LOWER_CASE: Final = np.uint64(0x2020202020202020)


class GvretColumns(Struct, frozen=True):
    """Where in a row each field is; None for a column that the file does not have."""

    delimiter: bytes
    time: int
    identifier: int
    length: int
    data: int
    extended: int | None
    direction: int | None
    bus: int | None

    def fits(self, fields: int) -> bool:
        """Whether a row of so many fields has all of these columns."""
        optional = (column or 0 for column in (self.extended, self.direction, self.bus))
        return fields >= max(self.time, self.identifier, self.length, self.data - 1, *optional) + 1


def gvret_columns(header: bytes) -> GvretColumns | None:
    """The columns that a header line names, None where it is no GVRET header."""
    delimiter = max(_DELIMITERS, key=header.count)
    names = [_plain(name).lower() for name in header.split(delimiter)]
    place = {name: index for index, name in reversed(list(enumerate(names)))}
    if not {b"time stamp", b"id", b"len", b"d1"} <= place.keys():
        return None
    return GvretColumns(
        delimiter=delimiter,
        time=place[b"time stamp"],
        identifier=place[b"id"],
        length=place[b"len"],
        data=place[b"d1"],
        extended=place.get(b"extended"),
        direction=place.get(b"dir"),
        bus=place.get(b"bus"),
    )


def _plain(text: bytes) -> bytes:
    """A field without the blanks and the quotes around it."""
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[:1] == text[-1:] == b'"' else text


class GvretParser:
    """A `BlockParser` of GVRET CSV with the columns of `header`. Bus 0 is channel `can0`."""

    def __init__(self, header: bytes = DEFAULT_HEADER) -> None:
        columns = gvret_columns(header)
        if columns is None:
            raise LineError("not a GVRET header")
        self._columns: Final = columns
        self._names = ChannelNames()
        self._clock = GvretClock()

    @property
    def channels(self) -> list[str]:
        """Channel names in order of first appearance."""
        return self._names.names

    def parse(self, block: bytes) -> ParsedBlock:
        """The frames of a block of whole lines, in order."""
        text = TextBlock(block)
        rows = _regular_rows(text, self._columns)
        ok, bus = rows.ok, rows.bus
        # Channels are numbered in file order: the first row of each new bus is read by itself.
        for number in sorted(set(bus[ok].tolist())):
            if self._names.find(f"can{number}") is None:
                ok[np.argmax(ok & (bus == number))] = False
        rest = RowCollector(self._names)
        for index in np.flatnonzero(~ok).tolist():
            rest.take_line(index, text.line(index), self._read_row)
        table = np.array([self._names.find(f"can{number}") or 0 for number in range(10)], np.uint16)
        batch = merge_lines(ok, rows.frames, table[bus], rest)
        batch = LogBatch(self._clock.unwrapped(batch.frames), batch.channel)
        return ParsedBlock(batch, len(text), rest.others, rest.unreadable, tuple(rest.faults))

    def _read_row(self, line: bytes) -> Row | str:
        columns = self._columns
        if b"time stamp" in line.lower() and gvret_columns(line) == columns:
            return HEADER
        if _SEPARATOR.fullmatch(line.strip()):
            return HEADER
        fields = [_plain(field) for field in line.split(columns.delimiter)]
        if not any(fields):
            return BLANK
        if not columns.fits(len(fields)):
            raise LineError("too few columns")
        arbitration_id = int(_matched(_HEX, fields[columns.identifier], "identifier")[1], 16)
        extended = arbitration_id > STANDARD_ID_MASK
        if columns.extended is not None:
            extended |= bool(_chosen(_TRUTHS, fields[columns.extended], "truth value"))
        check_identifier(arbitration_id, extended=extended)
        flags = FrameFlag.EXTENDED if extended else 0
        if columns.direction is not None:
            flags |= _chosen(_DIRECTIONS, fields[columns.direction], "direction")
        data = _data(fields[columns.data :], _number(fields[columns.length], "length"))
        if len(data) > CLASSIC_DATA_BYTES:
            flags |= FrameFlag.FD
        bus = _number(fields[columns.bus], "bus") if columns.bus is not None else 0
        if not 0 <= bus <= _HIGHEST_BUS:
            raise LineError("not a bus number")
        check_not_shortened(fields[columns.time])
        micros = _number(fields[columns.time], "time stamp")
        if abs(micros) > MAX_SECONDS * 1_000_000:
            raise LineError("timestamp out of range")
        return micros * _NS_PER_MICRO, f"can{bus}", arbitration_id, flags, len(data), data


def _matched(pattern: re.Pattern[bytes], text: bytes, what: str) -> re.Match[bytes]:
    match = pattern.fullmatch(text)
    if match is None:
        raise LineError(f"no valid {what}")
    return match


def _number(text: bytes, what: str) -> int:
    return int(_matched(_INTEGER, text, what)[0])


def _chosen(table: Mapping[bytes, int], text: bytes, what: str) -> int:
    value = table.get(text.lower())
    if value is None:
        raise LineError(f"no valid {what}")
    return value


def _data(fields: list[bytes], length: int) -> bytes:
    if length not in FD_LENGTHS:
        raise LineError(f"{length} is no frame length")
    present = fields[:length]
    if len(present) < length or not all(present):
        raise LineError(f"fewer than {length} data bytes")
    return bytes(int(_matched(_BYTE, field, "data byte")[1], 16) for field in present)


class _Rows(Struct, eq=False):
    """Frames and bus numbers of all lines, valid where `ok`."""

    ok: Mask
    frames: FrameBatch
    bus: NDArray[np.int64]


class _Fields:
    """The divided fields of lines, as (begin, end) positions. Every line has as many."""

    def __init__(self, text: TextBlock, commas: Positions, ok: Mask, per_line: int) -> None:
        self.text: Final = text
        bounds = np.repeat(text.start[:, None], per_line + 2, axis=1)
        bounds[:, 0] -= 1
        bounds[ok, 1:-1] = commas.reshape(-1, per_line)
        bounds[:, -1] = text.end
        self._bounds = bounds

    def span(self, column: int) -> tuple[Positions, Positions]:
        """Where the field of each line begins, and where it ends."""
        return self._bounds[:, column] + 1, self._bounds[:, column + 1]

    def word(self, column: int) -> Words:
        """The field in lower case, where it has at most 8 characters; else something that is no word."""
        begin, end = self.span(column)
        size = np.minimum(np.maximum(end - begin, 0), 8)
        return first(self.text.text(begin) | _LOWER_CASE, size)

    def digit(self, column: int, highest: int, ok: Mask) -> NDArray[np.int64]:
        """One decimal digit of at most `highest`. Clears `ok` where it is anything else."""
        begin, end = self.span(column)
        value = self.text.digits[begin].astype(np.int64)
        ok &= (end - begin == 1) & (value <= highest)
        return np.minimum(value, highest)


def _regular_rows(text: TextBlock, columns: GvretColumns) -> _Rows:
    """Rows of the common kind: classic, plain numbers, one digit of bus and length, two per byte."""
    commas = text.find(columns.delimiter)
    counts = np.diff(np.searchsorted(commas, np.append(text.start, len(text.chars))))
    usual = int(np.bincount(counts).argmax()) if len(counts) else 0
    ok = (counts == usual) & (text.line_feed - text.start <= MAX_LINE_BYTES)
    ok &= columns.fits(usual + 1)
    if not ok.any():
        return _Rows(ok, _empty_frames(len(text)), np.zeros(len(text), np.int64))
    fields = _Fields(text, commas[np.repeat(ok, counts)], ok, usual)
    stamp = _micros(fields, columns.time, ok) * _NS_PER_MICRO
    identifier, flags = _identifiers(fields, columns, ok)
    bus = np.zeros(len(text), np.int64) if columns.bus is None else fields.digit(columns.bus, 9, ok)
    length = fields.digit(columns.length, CLASSIC_DATA_BYTES, ok)
    data = _payloads(fields, columns.data, usual, length, ok)
    return _Rows(ok, FrameBatch(stamp, identifier, flags, length.astype(np.uint8), data), bus)


def _empty_frames(rows: int) -> FrameBatch:
    byte_column = np.zeros(rows, np.uint8)
    data = np.zeros((rows, CLASSIC_DATA_BYTES), np.uint8)
    return FrameBatch(np.zeros(rows, np.int64), np.zeros(rows, np.uint32), byte_column, byte_column, data)


def _micros(fields: _Fields, column: int, ok: Mask) -> NDArray[np.int64]:
    begin, end = fields.span(column)
    size = end - begin
    ok &= (size > 0) & (size <= 15)
    size = np.minimum(np.maximum(size, 0), 15)
    low = last(fields.text.nibbles(end - 8), np.minimum(size, 8))
    high = last(fields.text.nibbles(end - 16), np.maximum(size, 8) - 8)
    ok &= are_decimal(low) & are_decimal(high)
    return (decimal(high) * np.uint64(100_000_000) + decimal(low)).astype(np.int64)


def _identifiers(
    fields: _Fields, columns: GvretColumns, ok: Mask
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    begin, end = fields.span(columns.identifier)
    size = end - begin
    ok &= (size > 0) & (size <= 8)
    digits = last(fields.text.nibbles(end - 8), np.minimum(np.maximum(size, 0), 8))
    number = hex_number(digits)
    ok &= are_hex(digits) & (number <= 0x1FFF_FFFF)
    extended = number > STANDARD_ID_MASK
    if columns.extended is not None:
        truth = fields.word(columns.extended)
        said = truth == int.from_bytes(b"true", "little")
        ok &= said | (truth == int.from_bytes(b"false", "little"))
        extended |= said
    flags = extended * np.uint8(FrameFlag.EXTENDED)
    if columns.direction is not None:
        word = fields.word(columns.direction)
        sent = word == int.from_bytes(b"tx", "little")
        ok &= sent | (word == int.from_bytes(b"rx", "little"))
        flags = flags | sent * np.uint8(FrameFlag.TX)
    return number, flags


def _payloads(
    fields: _Fields, begin_column: int, commas: int, length: NDArray[np.int64], ok: Mask
) -> NDArray[np.uint8]:
    digits = fields.text.digits
    data = np.zeros((len(ok), CLASSIC_DATA_BYTES), np.uint8)
    ok &= length <= commas + 1 - begin_column
    for number in range(min(CLASSIC_DATA_BYTES, commas + 1 - begin_column)):
        begin, end = fields.span(begin_column + number)
        high, low = digits[end - 2], digits[end - 1]
        wanted = length > number
        ok &= ~wanted | ((end - begin == 2) & ((high | low) < 16))
        data[:, number] = np.where(wanted, (high << 4) | low, 0)
    return data
