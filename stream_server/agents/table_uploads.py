"""The signal tables that one connection was asked for, put together from their parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from can_stream.protocol.control import SignalTablePart
from can_stream.protocol.errors import SessionError
from can_stream.signals.table import MAX_COMPRESSED_BYTES

MAX_UPLOADS: Final = 4
_MAX_ASKED: Final = 4096


class TableUploads:
    """What was asked for and has not come, and what has come of it. At most four tables at a time."""

    def __init__(self) -> None:
        self._asked: set[str] = set()
        self._due: set[str] = set()
        self._parts: dict[str, bytearray] = {}
        self._sizes: dict[str, int] = {}

    def ask(self, hashes: Iterable[str]) -> list[str]:
        """Those of `hashes` to ask for: the gateway is asked once, it may have no such table."""
        fresh = [one for one in dict.fromkeys(hashes) if one not in self._asked]
        del fresh[_MAX_ASKED - len(self._asked) :]
        self._asked.update(fresh)
        self._due.update(fresh)
        return fresh

    def take_part(self, table_part: SignalTablePart) -> bytes | None:
        """The whole table with its last part, None before. SessionError for a part that is not due."""
        table_hash = table_part.hash
        self._check(table_part)
        received = self._parts.setdefault(table_hash, bytearray())
        self._sizes[table_hash] = table_part.size
        received += table_part.part
        if len(received) < table_part.size:
            return None
        self._due.discard(table_hash)
        del self._parts[table_hash], self._sizes[table_hash]
        return bytes(received)

    def _check(self, table_part: SignalTablePart) -> None:
        table_hash, size = table_part.hash, table_part.size
        if table_hash not in self._due:
            raise SessionError(f"hash: table {table_hash} was not asked for")
        if size > MAX_COMPRESSED_BYTES:
            raise SessionError(f"size: a table of {size} bytes, at most {MAX_COMPRESSED_BYTES} are allowed")
        if table_hash not in self._parts and len(self._parts) >= MAX_UPLOADS:
            raise SessionError(f"hash: at most {MAX_UPLOADS} tables can come at a time")
        if size != self._sizes.get(table_hash, size):
            raise SessionError(f"size: {size}, it was {self._sizes[table_hash]} before")
        due = len(self._parts.get(table_hash, b""))
        if table_part.offset != due:
            raise SessionError(f"offset: {table_part.offset} where {due} was due")
        if not 0 < len(table_part.part) <= size - due:
            raise SessionError(f"part: {len(table_part.part)} bytes where {size - due} are missing")
