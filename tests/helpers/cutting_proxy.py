"""A TCP proxy that breaks connections where the test says, as a bad network does."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

_CONNECT_SECONDS: Final = 10.0
_CHUNK_BYTES: Final = 16 * 1024
# SO_LINGER with no time: close sends a reset, so that the peer loses what it has not read.
_RESET: Final = struct.pack("ii", 1, 0)


class CuttingProxy:
    """Passes connections on to `port` of this machine; `port` of its own is free. A context manager.

    The first connections end, at once and without a goodbye, after as many bytes towards the client as
    `cut_after_bytes` says, in this order; later ones last until `cut`. It resets new ones while it
    `refuses`.
    """

    def __init__(self, port: int, cut_after_bytes: Iterable[int] = ()) -> None:
        self._target_port = port
        self._budgets = list(cut_after_bytes)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        self.refuses = False
        self.port: Final[int] = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection that is open now."""
        with self._lock:
            broken, self._open = self._open, set()
        for end in broken:
            _reset(end)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refuses:
                    _reset(client)
                else:
                    self._pass_on(client)

    def _pass_on(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target_port), _CONNECT_SECONDS)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        with self._lock:
            self._open |= {client, server}
            budget = self._budgets[self.connections] if self.connections < len(self._budgets) else None
            self.connections += 1
        for source, target, bytes_left in ((client, server, None), (server, client, budget)):
            threading.Thread(target=self._pump, args=(source, target, bytes_left), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, bytes_left: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                if bytes_left is not None and len(data) > bytes_left:
                    target.sendall(data[:bytes_left])
                    break
                bytes_left = None if bytes_left is None else bytes_left - len(data)
                target.sendall(data)
            else:
                target.shutdown(socket.SHUT_WR)
                return
        with self._lock:
            self._open -= {source, target}
        _reset(source)
        _reset(target)


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # Wakes the thread that reads it, which close alone does not.
        end.shutdown(socket.SHUT_RD)
    end.close()
