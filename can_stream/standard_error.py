"""Log lines to standard error, whether anybody reads it or not: who logs never waits for whoever collects."""

from __future__ import annotations

import logging
import os
import select
from typing import Final

# Where so much is written, a pipe or socket that poll(2) calls writable takes it at once (PIPE_BUF).
_PIECE_BYTES: Final = 4096
_PATIENCE_MS: Final = 500


class StandardErrorHandler(logging.Handler):
    """Leaves out lines while a pipe is full or a terminal stopped, and then says how many.

    A collector that is merely slow is waited for, half a second, once; a stopped one would have stopped the
    event loop, and with it the stream. What fails for good (a full disk, a broken pipe) costs its lines too.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._left_out = 0
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes it, or counts it."""
        try:
            text = f"{self.format(record)}\n"
        except Exception:
            self.handleError(record)
            return
        if self._left_out:
            reason = f"{self._left_out} lines of this log are missing here: nobody took them"
            said = logging.LogRecord(__name__, logging.WARNING, "", 0, reason, None, None)
            text = f"{self.format(said)}\n{text}"
        if self._write(text.encode(errors="backslashreplace")):
            self._left_out = 0
        else:
            self._left_out += 1

    def _write(self, text: bytes) -> bool:
        """Whether all of it was taken; the beginning may have been, all the same."""
        patience_ms = 0 if self._left_out else _PATIENCE_MS
        while text:
            if not self._poll.poll(patience_ms):
                return False
            try:
                text = text[os.write(self._descriptor, text[:_PIECE_BYTES]) :]
            except OSError:
                return False
        return True
