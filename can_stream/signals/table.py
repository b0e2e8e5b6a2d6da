"""The signal table: messages and signals of all loaded databases, serialisable, with a hash."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

import msgspec
import numpy as np

from can_stream.frames.batches import ValueKind
from can_stream.signals.checking import check_messages
from can_stream.signals.errors import TableError, TableVersionError
from can_stream.signals.layout import build_layout
from can_stream.signals.matching import Matcher
from can_stream.signals.model import Encoding, MessageModel, SignalModel
from can_stream.signals.nodes import build_nodes
from can_stream.signals.selecting import Selection

TABLE_VERSION: Final = 1
HASH_BYTES: Final = 16
MAX_COMPRESSED_BYTES: Final = 4 * 1024 * 1024
MAX_PLAIN_BYTES: Final = 32 * 1024 * 1024
_RAW_KIND: Final = {
    Encoding.UNSIGNED: ValueKind.UNSIGNED,
    Encoding.SIGNED: ValueKind.SIGNED,
    Encoding.FLOAT: ValueKind.FLOAT,
}
_MAGIC: Final = b"SIGT"


class _Document(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    messages: tuple[MessageModel, ...]


class _Versioned(msgspec.Struct, frozen=True, array_like=True):
    """The beginning of a document of any version."""

    version: int


class SignalTable:
    """Immutable. Raises TableError where `messages` are impossible.

    `messages`: where several match a frame, the one of its exact id, then the first of its PGN.
    `signals`: all signals in the order of the messages; what a signal index means.
    `raw_kind`: how raw values of each signal are read (`ValueKind`).
    `message_of`: the message index of each signal. `first_signal`: the signal index each message begins at.
    `hash`: 16 bytes, BLAKE2b of the plain serialised table.
    """

    def __init__(self, messages: Iterable[MessageModel]) -> None:
        self.messages: Final = tuple(messages)
        check_messages(self.messages)
        self.signals: Final[tuple[SignalModel, ...]] = tuple(
            signal for message in self.messages for signal in message.signals
        )
        self.message_of: Final = tuple(
            index for index, message in enumerate(self.messages) for _ in message.signals
        )
        self.first_signal: Final = _starts([len(message.signals) for message in self.messages])
        self.raw_kind: Final = np.array([_RAW_KIND[signal.encoding] for signal in self.signals], np.uint8)
        nodes = build_nodes(self.messages)
        self.layout: Final = build_layout(self.signals, nodes)
        self.selection: Final = Selection(self.signals, nodes)
        self.matcher: Final = Matcher(self.messages)
        self._plain: Final = msgspec.msgpack.encode(_Document(TABLE_VERSION, self.messages))
        self.hash: Final = blake2b(self._plain, digest_size=HASH_BYTES).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SignalTable) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def to_bytes(self) -> bytes:
        """The serialised table. Raises TableError where it would be too large to be read."""
        packed = _MAGIC + zlib.compress(self._plain, 9)
        if len(packed) > MAX_COMPRESSED_BYTES or len(self._plain) > MAX_PLAIN_BYTES:
            raise TableError(f"a table of {len(packed)} bytes, at most {MAX_COMPRESSED_BYTES} are allowed")
        return packed


def read_table(data: bytes) -> SignalTable:
    """The inverse of `SignalTable.to_bytes`. Raises TableError."""
    if len(data) > MAX_COMPRESSED_BYTES or not data.startswith(_MAGIC):
        raise TableError("not a signal table, or too large for one")
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(data[len(_MAGIC) :], MAX_PLAIN_BYTES)
    except zlib.error as error:
        raise TableError(f"the table is damaged: {error}") from error
    if not inflate.eof or inflate.unused_data:
        raise TableError("the table is cut short, too large or followed by something else")
    try:
        version = msgspec.msgpack.decode(plain, type=_Versioned).version
        if version != TABLE_VERSION:
            raise TableVersionError(version, TABLE_VERSION)
        document = msgspec.msgpack.decode(plain, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TableError(f"the table is no table of version {TABLE_VERSION}: {error}") from error
    return SignalTable(document.messages)


def _starts(sizes: list[int]) -> tuple[int, ...]:
    starts, at = [], 0
    for size in sizes:
        starts.append(at)
        at += size
    return tuple(starts)
