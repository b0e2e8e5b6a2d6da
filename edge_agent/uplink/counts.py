"""What the uplink has moved and gone through since the agent's start."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct
from websockets.asyncio.client import ClientConnection
from websockets.frames import CloseCode, Frame, Opcode

from edge_agent.uplink.patience import Patience
from edge_agent.uplink.state import UplinkPhase

_DAY_NS: Final = 86_400_000_000_000
# What goes out around a message (WebSocket, TLS, TCP and IP headers), for a connection, and to keep both of
# them alive between two heartbeats: allowances, since who pays by the byte pays for these too.
_MESSAGE_BYTES: Final = 100
_CONNECTION_BYTES: Final = 4_000
_BEAT_BYTES: Final = 400
_TOO_MUCH: Final = "it wants more than an agent bears"
_GOODBYE_SECONDS: Final = 0.5


class UplinkCounts(Struct):
    """`bytes_up` and `bytes_down` are what the WebSockets carried, without what TLS, TCP and IP add.

    `attempts`: to open one of the two. `connections`: times that both were.
    `connected_since_ns` is None while there is no connection. `messages_dropped`: control messages for which
    there was no room.
    """

    attempts: int = 0
    connections: int = 0
    beats: int = 0
    messages_up: int = 0
    refusals: int = 0
    messages_dropped: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    connected_since_ns: int | None = None
    _day: int | None = None
    _before_today: tuple[int, int] = (0, 0)

    def changed(self, phase: UplinkPhase, now_ns: int) -> None:
        """The uplink has come into another phase, or into the same once more."""
        self.connections += phase is UplinkPhase.STREAMING
        self.refusals += phase is UplinkPhase.REFUSED
        self.connected_since_ns = now_ns if phase is UplinkPhase.STREAMING else None

    @property
    def spent_bytes(self) -> int:
        """What has gone out, with allowances for what is around it."""
        around = (
            self.attempts * _CONNECTION_BYTES + self.messages_up * _MESSAGE_BYTES + self.beats * _BEAT_BYTES
        )
        return self.bytes_up + around

    def today(self, now_ns: int) -> tuple[int, int]:
        """Bytes up and down since midnight UTC or the start. A day begins when it is first asked for."""
        day = now_ns // _DAY_NS
        if self._day is not None and self._day != day:
            self._before_today = self.bytes_up, self.bytes_down
        self._day = day
        return self.bytes_up - self._before_today[0], self.bytes_down - self._before_today[1]


class CountedConnection(ClientConnection):
    """A connection that adds what it carries to `counts`, and ends where the server wants too much.

    Each message that it carries up earns one that comes down in bytes, an ack. Whatever else comes, a ping, a
    word, a piece of a message, is answered or looked at, and counts.
    """

    counts: UplinkCounts

    def __init__(self, *arguments: Any, patience: Patience | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._patience = patience or Patience()
        self._has_given_up = False

    def process_event(self, event: Any) -> None:
        """As it was, while that is in order."""
        if isinstance(event, Frame):
            answers = event.opcode is Opcode.BINARY
            if not self._patience.bears(self.loop.time(), answers=answers):
                self._give_up()
                return
        super().process_event(event)

    def _give_up(self) -> None:
        """Said to the other side, which may not listen."""
        if not self._has_given_up:
            self._has_given_up = True
            self.protocol.fail(CloseCode.POLICY_VIOLATION, _TOO_MUCH)
            self.send_data()
            self.loop.call_later(_GOODBYE_SECONDS, self.transport.abort)

    async def send(self, message: Any, **options: Any) -> None:
        """As it was, for a whole message."""
        self._patience.earned += 1
        self.counts.bytes_up += _size(message)
        self.counts.messages_up += 1
        await super().send(message, **options)

    async def recv(self, decode: bool | None = None) -> Any:
        """As it was."""
        message = await super().recv(decode)
        self.counts.bytes_down += _size(message)
        return message


def _size(message: str | bytes) -> int:
    return len(message.encode() if isinstance(message, str) else message)
