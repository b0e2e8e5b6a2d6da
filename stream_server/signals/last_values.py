"""The last values of one dongle's signals."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from can_stream.frames.batches import SignalBatch
from stream_server.signals.newest_values import NewestValues

_COLUMNS: Final = (("timestamp_ns", "<i8"), ("signal", "<u4"), ("kind", "u1"), ("bits", "<u8"))
_NO_HASH: Final = bytes(16)


class LastValues:
    """The last value of each signal, all of the table `table_hash` (hex; None while there is none).

    A live value always counts, even where its time is older: its gateway's clock was set back. Backlog counts
    where it is newer than what is there. No value outlives its table, for the next one numbers its signals
    differently.
    """

    __slots__ = ("_declared", "_values", "table_hash")

    def __init__(self, table_hash: str | None) -> None:
        self.table_hash = table_hash
        self._declared = table_hash
        self._values = NewestValues()

    def __len__(self) -> int:
        return self._values.count

    def declare(self, table_hash: str | None) -> bool:
        """The gateway says which table is current. Returns whether that forgets values.

        Its word and its values come by two connections: what it has said before, and repeats, does not bring
        back a table that live values have replaced.
        """
        if table_hash == self._declared:
            return False
        self._declared = table_hash
        return self._begin(table_hash)

    def take_live(self, batch: SignalBatch) -> None:
        """Values as they come; those of another table begin anew."""
        self._begin(batch.table_hash.hex())
        self._values.put(batch)

    def take_backlog(self, batch: SignalBatch) -> bool:
        """Values that were held back. Returns whether they can count, being of this table."""
        if batch.table_hash.hex() != self.table_hash:
            return False
        self._values.put_newer(batch)
        return True

    def columns(self) -> SignalBatch:
        """All values, in the order of the table."""
        table_hash = _NO_HASH if self.table_hash is None else bytes.fromhex(self.table_hash)
        return self._values.batch(table_hash, self._values.signals())

    def to_bytes(self) -> bytes:
        """All values, to be stored."""
        columns = self.columns()
        return msgspec.msgpack.encode(
            [getattr(columns, name).astype(kind).tobytes() for name, kind in _COLUMNS]
        )

    def _begin(self, table_hash: str | None) -> bool:
        if table_hash == self.table_hash:
            return False
        self.table_hash = table_hash
        self._values = NewestValues()
        return True


def restored(table_hash: str, stored: bytes) -> LastValues:
    """The inverse of `LastValues.to_bytes`."""
    parts = msgspec.msgpack.decode(stored, type=list[bytes])
    columns = {
        name: np.frombuffer(part, kind).astype(np.dtype(kind).newbyteorder("="))
        for (name, kind), part in zip(_COLUMNS, parts, strict=True)
    }
    values = LastValues(table_hash)
    values.take_live(SignalBatch(bytes.fromhex(table_hash), **columns))
    return values
