"""What a signal table says about each message and signal: the part that is serialised."""

from __future__ import annotations

from enum import IntEnum

import msgspec


class Encoding(IntEnum):
    """How the bits of a signal are read."""

    UNSIGNED = 0
    SIGNED = 1
    FLOAT = 2


class SignalModel(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One signal of a message.

    `start`: the lowest bit, counted from bit 0 of byte 0 upwards (bit 8 is bit 0 of byte 1); with
    `big_endian` the highest bit, counted from bit 7 of byte 0 downwards (bit 8 is bit 7 of byte 1).
    `scale`, `offset`: int or float as the database has them; the type decides that of the value.
    `choices`: raw value to name. `selector`: which signal of the message (by index) decides whether this
    one is there, -1 where it always is; `ranges`: for which of its raw values (first, last), both included.
    """

    name: str
    start: int
    length: int
    big_endian: bool = False
    encoding: Encoding = Encoding.UNSIGNED
    scale: int | float = 1
    offset: int | float = 0
    unit: str = ""
    choices: dict[int, str] = {}
    selector: int = -1
    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def needed_bytes(self) -> int:
        """How long the data must be to hold the signal."""
        return (self.start + self.length + 7) // 8

    @property
    def raw_limits(self) -> tuple[int, int]:
        """The least and the greatest raw integer."""
        if self.encoding is Encoding.SIGNED:
            return -(1 << (self.length - 1)), (1 << (self.length - 1)) - 1
        return 0, (1 << self.length) - 1


class MessageModel(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One message: `arbitration_id` of 11 or 29 bits; `by_pgn`: any extended frame of its J1939 PGN is it."""

    name: str
    arbitration_id: int
    is_extended: bool
    by_pgn: bool
    length: int
    signals: tuple[SignalModel, ...]


def pgn_of(arbitration_id: int) -> int:
    """The parameter group number of a 29-bit id (SAE J1939-21): below PDU format 240 (PDU1) the PDU

    specific byte is a destination and does not count, from there on (PDU2) it extends the group.
    """
    pgn = (arbitration_id >> 8) & 0x3FFFF
    return pgn if pgn & 0xFF00 >= 0xF000 else pgn & 0x3FF00
