"""Which activation of a group the frames behind it are carried for: the body of `marker` packets.

An activation is named by the server's storage and a number that only rises. What a lane carries behind a
marker, up to the next one or the end of its start, is all that its bus has given.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from msgspec import Struct

from can_stream.protocol.errors import PacketError
from can_stream.protocol.varint import Reader, put_varint

STORAGE_ID_BYTES: Final = 16
# 15 digits: what a name can say a marker can say too, else a lane would hold what is refused for ever.
MAX_ACTIVATION: Final = 10**15 - 1
_PATTERN: Final = r"^[0-9a-f]{32}-[1-9][0-9]{0,14}(?!\n)$"
_VALID: Final = re.compile(_PATTERN)
_NO_STORAGE: Final = bytes(STORAGE_ID_BYTES)

ActivationName = Annotated[str, msgspec.Meta(pattern=_PATTERN)]
"""`<storage id>-<number>`."""


class Marker(Struct, frozen=True):
    """From here on this start's frames are carried for `activation`; "": for none."""

    activation: str


def activation_name(storage_id: str, number: int) -> str:
    """The name of activation `number` of a server whose storage has this id of 32 hex digits. ValueError."""
    name = f"{storage_id}-{number}"
    if not _VALID.match(name):
        raise ValueError(f"{name!r} names no activation")
    return name


def is_activation(name: str) -> bool:
    """Whether this names an activation."""
    return _VALID.match(name) is not None


def put_marker(out: bytearray, marker: Marker) -> None:
    """Appends the fields of docs/wire-protocol.md 7.6."""
    storage_id, _, number = marker.activation.partition("-")
    out += bytes.fromhex(storage_id) if storage_id else _NO_STORAGE
    put_varint(out, int(number or 0))


def take_marker(reader: Reader) -> Marker:
    """The inverse of `put_marker`. Raises PacketError."""
    at = reader.offset
    storage_id = reader.take(STORAGE_ID_BYTES)
    number = reader.varint("activation", MAX_ACTIVATION)
    if not number:
        if storage_id != _NO_STORAGE:
            raise PacketError("a marker of no activation names a storage", at)
        return Marker("")
    return Marker(activation_name(storage_id.hex(), number))
