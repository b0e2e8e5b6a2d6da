"""A TCP proxy that counts what passes, holds it to a rate, and can be told to break everything."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Final, Self

_CONNECT_SECONDS: Final = 10.0
_CHUNK_BYTES: Final = 4096


class MeteredProxy:
    """Passes connections on to `target_port` of this machine; a context manager.

    `upstream_bytes` and `downstream_bytes` count what clients and what the target sent, over all
    connections. `bytes_per_second` holds what clients send to that rate, each connection for itself;
    `port` is where it listens, 0 picks one.
    """

    def __init__(self, target_port: int, bytes_per_second: float | None = None, port: int = 0) -> None:
        self.bytes_per_second = bytes_per_second
        self.upstream_bytes = 0
        self.downstream_bytes = 0
        self._target_port = target_port
        self._news = threading.Condition()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", port))
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

    def wait_for_upstream(self, total_bytes: int, timeout_seconds: float) -> bool:
        """Whether clients have sent so much in all before the time was over."""
        with self._news:
            return self._news.wait_for(lambda: self.upstream_bytes >= total_bytes, timeout_seconds)

    def cut(self) -> None:
        """Break every connection that is open now."""
        with self._news:
            broken, self._open = self._open, set()
        for end in broken:
            _close(end)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._pass_on(client)

    def _pass_on(self, client: socket.socket) -> None:
        try:
            target = socket.create_connection(("127.0.0.1", self._target_port), _CONNECT_SECONDS)
        except OSError:
            _close(client)
            return
        target.settimeout(None)
        for end in (client, target):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._news:
            self._open |= {client, target}
        threading.Thread(target=self._pump, args=(client, target, True), daemon=True).start()
        threading.Thread(target=self._pump, args=(target, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, upstream: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                self._count(len(data), upstream)
                sink.sendall(data)
                if upstream and self.bytes_per_second is not None:
                    time.sleep(len(data) / self.bytes_per_second)
            sink.shutdown(socket.SHUT_WR)
            return
        with self._news:
            self._open -= {source, sink}
        _close(source)
        _close(sink)

    def _count(self, size: int, upstream: bool) -> None:
        with self._news:
            if upstream:
                self.upstream_bytes += size
            else:
                self.downstream_bytes += size
            self._news.notify_all()


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
