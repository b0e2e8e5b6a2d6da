"""What answers where a stream server should: the bytes that a portal, a firewall or a proxy says."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from threading import Thread
from types import TracebackType
from typing import Final, Self

_HEAD_END: Final = b"\r\n\r\n"


def http(status: int, body: bytes = b"", *, version: str = "1.1", **headers: str) -> bytes:
    """An answer over HTTP; an underscore in the name of a header stands for a hyphen."""
    lines = [f"HTTP/{version} {status} Something"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + _HEAD_END + body


def own(status: int, code: str, message: str = "no") -> bytes:
    """An error as our server says it."""
    body = json.dumps({"code": code, "message": message, "details": {}}).encode()
    return http(status, body, Content_Type="application/json")


class ForeignServer:
    """Reads a request, says `answer` and closes; says nothing for ever where that is None. A context manager.

    `requests`: what it was asked. `tunnels_to`: after the answer it passes bytes on, both ways.
    """

    def __init__(
        self,
        answer: bytes | None,
        *,
        tls: ssl.SSLContext | None = None,
        tunnels_to: tuple[str, int] | None = None,
    ) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._tls = tls
        self._tunnels_to = tunnels_to
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.authority = f"127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._open.append(connection)
                Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self.requests.append(connection.recv(65_536))
            if self._answer is None:
                return
            connection.sendall(self._answer)
            if self._tunnels_to is not None:
                with socket.create_connection(self._tunnels_to) as other:
                    Thread(target=_pass_on, args=(other, connection), daemon=True).start()
                    _pass_on(connection, other)
            connection.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(65_536):
            target.sendall(content)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
