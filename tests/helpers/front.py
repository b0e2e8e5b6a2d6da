"""What stands before a server: lets through, ends TLS, or answers in its place, as the test says."""

from __future__ import annotations

import contextlib
import socket
import ssl
from threading import Thread
from types import TracebackType
from typing import Self


class Front:
    """Passes connections at `listening` on to `port` of this machine. A context manager.

    `tls`: what it shows to each new connection. `answer`: what it says in the server's place, while set.
    """

    def __init__(self, port: int, listening: socket.socket | None = None) -> None:
        self.tls: ssl.SSLContext | None = None
        self.answer: bytes | None = None
        self._target = ("127.0.0.1", port)
        self._listening = listening or socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Self:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def cut(self) -> None:
        """Ends what is open."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            if self.answer is not None:
                connection.recv(65_536)
                connection.sendall(self.answer)
                connection.close()
                return
            server = socket.create_connection(self._target)
            self._open += [connection, server]
            Thread(target=_pass_on, args=(server, connection), daemon=True).start()
            _pass_on(connection, server)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while content := source.recv(65_536):
            target.sendall(content)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
