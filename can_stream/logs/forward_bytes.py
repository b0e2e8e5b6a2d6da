"""The bytes of a binary log, forward only: what has been read and not been used yet, and where it lies.

Pure: the file's `read` is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

# Of the disk or the network, and of compressed data: `BrokenOffError` is an EOFError.
READ_ERRORS: Final = (OSError, EOFError)


class ForwardBytes:
    """What has been read and not been used: `available` bytes, the first of them byte `offset` of the file.

    `failure` is what reading raised: what came before it is used first, then `end` raises it.
    """

    def __init__(self, read: Callable[[int], bytes], step_bytes: int) -> None:
        self.offset = 0
        self.failure: OSError | EOFError | None = None
        self._read: Final = read
        self._step: Final = max(step_bytes, 1)
        self._data = b""
        # What lies before it is used: bytes are not moved for each object.
        self._at = 0
        self._ended = False

    @property
    def available(self) -> int:
        """How many bytes have been read and not been used."""
        return len(self._data) - self._at

    def peek(self, count: int) -> bytes:
        """The next `count` bytes, or as many as there are, without using them."""
        return self._data[self._at : self._at + count]

    def more(self) -> bool:
        """Read once, whatever is there. False at the end."""
        piece = self._piece(self._step)
        self._data = self._data[self._at :] + piece if self.available else piece
        self._at = 0
        return bool(piece)

    def need(self, count: int) -> bool:
        """Read until `count` bytes are there, a small number. False where the file has not so many."""
        while self.available < count:
            if not self.more():
                return False
        return True

    def drop(self, count: int) -> None:
        """The next `count` bytes, which are there, are used."""
        self._at += count
        self.offset += count

    def pieces(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes, in pieces; fewer where the file ends."""
        while count:
            if not self.available and not self.more():
                return
            piece = self.peek(count)
            self.drop(len(piece))
            count -= len(piece)
            yield piece

    def skip(self, count: int) -> None:
        """Read past the next `count` bytes, or to the end."""
        for _ in self.pieces(count):
            pass

    def end(self) -> None:
        """Raises `failure`, where there is one."""
        if self.failure is not None:
            raise self.failure

    def _piece(self, count: int) -> bytes:
        if self._ended:
            return b""
        try:
            piece = self._read(count)
        except READ_ERRORS as error:
            self.failure, piece = error, b""
        self._ended = not piece
        return piece
