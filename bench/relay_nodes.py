"""The other nodes of two buses that a relay makes one: they send, answer, and write down what they see.

The buses are those of the kernel, or python-can's `udp_multicast` where there are none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import can

_FRAME: Final = struct.Struct("=IB3x8s")
_BUFFER_BYTES: Final = 16 << 20
_SO_RCVBUFFORCE: Final = 33
_SLICE_SECONDS: Final = 0.005
Answer = Callable[[int, bytes], None]


@dataclass(frozen=True)
class BusName:
    """A bus: `port` is 0 where it is one of the kernel."""

    interface: str
    channel: str
    port: int


def two_buses(kernel: bool, kind: str = "ours") -> dict[str, BusName]:
    """By side. Those of the kernel are vcan0 and vcan1, of the bridges (`bare`) vcan2 and vcan3, which are
    made; those of `udp_multicast` are nobody else's."""
    if kernel:
        first = 0 if kind == "ours" else 2
        found = {side: BusName("socketcan", f"vcan{first + at}", 0) for at, side in enumerate("ab")}
        for bus in found.values():
            if bus.channel not in dict(socket.if_nameindex()).values():
                subprocess.run(["ip", "link", "add", bus.channel, "type", "vcan"], check=True)
                subprocess.run(["ip", "link", "set", bus.channel, "up"], check=True)
        return found
    numbers = uuid.uuid4().bytes
    port = 20_000 + 2 * int.from_bytes(numbers[4:6], "big") % 20_000
    host = os.getpid() % 250 + 1
    return {
        side: BusName("udp_multicast", f"239.75.{numbers[at]}.{host}", port + at)
        for at, side in enumerate("ab")
    }


class _Wire(Protocol):
    def send(self, arbitration_id: int, data: bytes) -> None: ...

    def receive(self) -> tuple[int, bytes] | None: ...

    def close(self) -> None: ...


class _KernelWire:
    def __init__(self, name: BusName) -> None:
        self._socket = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.bind((name.channel,))
        self._socket.settimeout(0.1)

    def send(self, arbitration_id: int, data: bytes) -> None:
        frame = _FRAME.pack(arbitration_id, len(data), data)
        while True:
            try:
                self._socket.send(frame)
            except OSError:  # ENOBUFS: the queue holds ten
                time.sleep(0.0005)
            else:
                return

    def receive(self) -> tuple[int, bytes] | None:
        with contextlib.suppress(TimeoutError):
            arbitration_id, length, data = _FRAME.unpack(self._socket.recv(16))
            return arbitration_id, data[:length]
        return None

    def close(self) -> None:
        self._socket.close()


class _MulticastWire:
    def __init__(self, name: BusName) -> None:
        self._bus = can.Bus(name.channel, name.interface, ignore_config=True, port=name.port)
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._bus.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)

    def send(self, arbitration_id: int, data: bytes) -> None:
        self._bus.send(can.Message(arbitration_id=arbitration_id, is_extended_id=False, data=data))

    def receive(self) -> tuple[int, bytes] | None:
        message = self._bus.recv(0.1)
        return None if message is None else (message.arbitration_id, bytes(message.data))

    def close(self) -> None:
        self._bus.shutdown()


class Node:
    """`seen`: (monotonic ns, id, data) of what came, of the ids of `others`; `answer` is called with each."""

    def __init__(self, name: BusName, others: range) -> None:
        self.seen: list[tuple[int, int, bytes]] = []
        self.answer: Answer | None = None
        self._wire: _Wire = _MulticastWire(name) if name.port else _KernelWire(name)
        self._others = others
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def send(self, arbitration_id: int, data: bytes) -> None:
        """One frame, at once."""
        self._wire.send(arbitration_id, data)

    def send_numbered(self, arbitration_id: int, count: int, rate: float) -> hashlib._Hash:
        """So many frames at a steady rate, at most 5 ms of them at once; what they are, as a hash."""
        hashed, began, sent = hashlib.sha256(), time.monotonic(), 0
        while sent < count:
            due = min(count, int((time.monotonic() - began) * rate) + 1)
            for number in range(sent, due):
                data = number.to_bytes(4, "big")
                self.send(arbitration_id, data)
                hashed.update(data)
            sent = due
            time.sleep(min(_SLICE_SECONDS, 1 / rate))
        return hashed

    def numbered(self, arbitration_id: int) -> list[bytes]:
        """The data of what came with this id, in order."""
        return [data for _, one, data in list(self.seen) if one == arbitration_id]

    def close(self) -> None:
        """Off the bus."""
        self._ended.set()
        self._thread.join()
        self._wire.close()

    def _read(self) -> None:
        while not self._ended.is_set():
            came = self._wire.receive()
            if came is not None and came[0] in self._others:
                self.seen.append((time.monotonic_ns(), *came))
                if self.answer is not None:
                    self.answer(*came)


@contextlib.contextmanager
def nodes(buses: dict[str, BusName]) -> Iterator[dict[str, Node]]:
    """One on each bus. Side a has the ids from 0x100, side b those from 0x200."""
    with contextlib.ExitStack() as stack:
        found = {}
        for side, others in (("a", IDS["b"]), ("b", IDS["a"])):
            found[side] = Node(buses[side], others)
            stack.callback(found[side].close)
        yield found


IDS: Final = {"a": range(0x100, 0x200), "b": range(0x200, 0x300)}
