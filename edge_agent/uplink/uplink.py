"""The uplink: two WebSockets to the stream server, kept open for as long as the agent runs.

Rules live elsewhere (`can_stream.lanes.sender`, `backoff`); this shell connects, moves bytes, and says how
things stand. Both connections live and die together: control first, so that the server knows the dongles.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from can_stream.lanes.sender import MAX_BACKLOG_FRAMES, LaneSender
from can_stream.protocol.control import (
    MAX_RANGES,
    AgentMessage,
    Command,
    CommandStatus,
    Error,
    Heartbeat,
    Hello,
    LanesHello,
    LanesWelcome,
    TablesWanted,
    Welcome,
    decode_data_down,
    decode_server_message,
    encode_message,
    table_parts,
)
from can_stream.protocol.errors import MessageError, WireError
from can_stream.protocol.hop import Envelope, HopEncoder, decode_ack
from edge_agent.config.server_url import is_loopback, websocket_url
from edge_agent.errors import UplinkError
from edge_agent.host.backoff import Backoff
from edge_agent.host.clock import Clock
from edge_agent.uplink.counts import CountedConnection, UplinkCounts

MAX_DOWN_BYTES: Final = 256 * 1024
OPEN_TIMEOUT_SECONDS: Final = 20.0
ANSWER_TIMEOUT_SECONDS: Final = 20.0
MAX_WAITING_MESSAGES: Final = 1000
# What waits in our buffers and in the kernel's goes out before anything newer: little, so that live frames
# do not queue behind backlog on a slow link.
_WRITE_LIMIT_BYTES: Final = 16 * 1024
_TCP_NOTSENT_LOWAT: Final = 25  # linux/tcp.h; the socket module has no name for it
# Together they must fit into one message of at most 256 KiB.
_RANGES_IN_ALL: Final = 3000
_logger: Final = logging.getLogger(__name__)
_REFUSALS: Final = frozenset({"UNAUTHENTICATED", "FORBIDDEN", "AGENT_MISMATCH", "DONGLE_CONFLICT"})


class UplinkState(Struct, frozen=True):
    """How the uplink stands: `message` says the remedy where it is not connected.

    `failed`: the last attempt did; `refused`: for a reason that trying again soon cannot change.
    """

    connected: bool
    message: str
    refused: bool = False
    failed: bool = False


class _LostError(Exception):
    """This connection is over: `reason`; `refused` when trying again soon cannot help."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        self.reason = reason
        self.refused = refused
        super().__init__(reason)


class _GreetAgain(Exception):  # noqa: N818 - a wish, no error
    """The connection is given up on purpose, for a hello that says more."""


class Answers(Struct, frozen=True):
    """What the uplink asks its agent, in the event loop.

    `hello`: what to say at each connection. `table`: the signal table of a hash that the server wants.
    `on_state` is told of each change, `on_beat` after each heartbeat.
    """

    hello: Callable[[], Hello]
    table: Callable[[str], bytes | None] = lambda _: None
    on_state: Callable[[UplinkState], None] = lambda _: None
    on_beat: Callable[[], None] = lambda: None


class Uplink:
    """Streams lanes and control messages of one agent to one server."""

    def __init__(
        self,
        url: str,
        token: str,
        answers: Answers,
        lanes: Sequence[LaneSender],
        *,
        clock: Clock,
        ca_file: Path | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.lanes = lanes
        self.state = UplinkState(False, f"connecting to {url}")
        self.progress = asyncio.Event()
        self.counts = UplinkCounts()
        self.server_offset_ns: int | None = None
        self._url = url
        self._token = token
        self._answers = answers
        self._clock = clock
        self._tls = _tls_context(url, ca_file)
        self._backoff = backoff or Backoff()
        self._wake = asyncio.Event()
        self._again = asyncio.Event()
        self._messages: asyncio.Queue[AgentMessage] = asyncio.Queue(MAX_WAITING_MESSAGES)

    def reconnect(self) -> None:
        """There are new dongles or lanes: greet the server again with all of them."""
        self._again.set()
        self._set_state(UplinkState(False, "greeting the server again"))

    def wake(self) -> None:
        """A lane has something new to send."""
        self._wake.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that acks or connections bring about. UplinkError when the server refuses."""
        while not condition():
            if self.state.refused:
                raise UplinkError(self.state.message)
            self.progress.clear()
            await self.progress.wait()

    def say(self, message: AgentMessage) -> bool:
        """Queue a control message; False when it had to be dropped because 1,000 are waiting."""
        try:
            self._messages.put_nowait(message)
        except asyncio.QueueFull:
            self.counts.messages_dropped += 1
            return False
        return True

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            try:
                self._again.clear()
                await self._connect_once()
            except _GreetAgain:
                continue
            except _LostError as lost:
                now_seconds = self._clock.monotonic_seconds()
                wait = (self._backoff.refused if lost.refused else self._backoff.failed)(now_seconds)
                self._set_state(
                    UplinkState(
                        False, f"{lost.reason}; next attempt in {wait:.1f} s", lost.refused, failed=True
                    )
                )
                await asyncio.sleep(wait)

    async def _connect_once(self) -> None:
        try:
            async with await self._open("/ws/agent") as control:
                welcome = await self._greet(control)
                async with await self._open("/ws/data") as data:
                    if self._again.is_set():  # lanes have come since hello that it did not name
                        raise _GreetAgain
                    await self._open_lanes(data)
                    self._backoff.connected(self._clock.monotonic_seconds())
                    if not self._again.is_set():
                        self._set_state(UplinkState(True, f"streaming to {self._url}"))
                    await self._stream(control, data, welcome.heartbeat_seconds)
        except ConnectionClosed as closed:
            raise _lost(closed) from closed
        except WireError as error:
            raise _LostError(f"{self._url} does not speak this protocol: {error}") from error
        except (_LostError, _GreetAgain):
            raise
        except Exception as error:
            # For one, a transport of Python 3.11 raises AttributeError when it is aborted after a close that
            # had to wait for its buffer. Whatever it is, the agent must go on.
            _logger.warning("the connection to %s broke in an unexpected way", self._url, exc_info=True)
            raise _LostError(f"the connection broke ({type(error).__name__}: {error})") from error
        finally:
            for lane in self.lanes:
                lane.disconnect()

    async def _stream(self, control: ClientConnection, data: ClientConnection, beat_seconds: float) -> None:
        jobs: list[Awaitable[None]] = [
            self._send_packets(data),
            self._take_acks(data),
            self._send_messages(control),
            self._take_messages(control),
            self._beat(beat_seconds),
            self._greet_again(),
        ]
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- opening

    async def _open(self, path: str) -> ClientConnection:
        self.counts.attempts += 1
        try:
            connection = await connect(
                websocket_url(self._url, path),
                additional_headers={"Authorization": f"Bearer {self._token}"},
                compression=None,  # the hop has its own, with a context that fits packets
                max_size=MAX_DOWN_BYTES,
                write_limit=_WRITE_LIMIT_BYTES,
                open_timeout=OPEN_TIMEOUT_SECONDS,
                ssl=self._tls,
                # A proxy of the environment is for the network; this machine itself is reached directly.
                proxy=None if is_loopback(self._url) else True,
                create_connection=CountedConnection,
            )
        except InvalidStatus as answer:
            raise self._status_lost(answer) from answer
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
            raise _LostError(f"{self._url} cannot be reached ({_reason(error)})") from error
        assert isinstance(connection, CountedConnection)
        connection.counts = self.counts
        _keep_kernel_queue_short(connection)
        return connection

    def _status_lost(self, answer: InvalidStatus) -> _LostError:
        status = answer.response.status_code
        if status in (401, 403):
            return _LostError(
                f"{self._url} refuses this agent's token (HTTP {status}); enrol it again with "
                "`edge-agent enroll`",
                refused=True,
            )
        return _LostError(f"{self._url} answered HTTP {status} instead of opening a WebSocket")

    async def _greet(self, control: ClientConnection) -> Welcome:
        await control.send(encode_message(self._answers.hello()))
        answer = decode_server_message(await _answer(control))
        if isinstance(answer, Welcome):
            self.server_offset_ns = answer.server_wall_ns - self._clock.monotonic_ns()
            return answer
        raise _error_lost(answer) if isinstance(answer, Error) else MessageError("welcome expected")

    async def _open_lanes(self, data: ClientConnection) -> None:
        now_seconds = self._clock.monotonic_seconds()
        max_ranges = min(MAX_RANGES, _RANGES_IN_ALL // max(1, len(self.lanes)))
        for lane in self.lanes:
            lane.on_unsent = self.wake
            lane.max_backlog_frames = MAX_BACKLOG_FRAMES // len(self.lanes)
        hellos = [lane.connect(now_seconds, max_ranges) for lane in self.lanes]
        await data.send(encode_message(LanesHello(self._answers.hello().start_id, hellos)))
        answer = decode_data_down(await _answer(data))
        if isinstance(answer, Error):
            raise _error_lost(answer)
        if not isinstance(answer, LanesWelcome) or len(answer.taken_through) != len(hellos):
            raise MessageError("lanes_welcome for every lane expected")
        for lane, taken_through in zip(self.lanes, answer.taken_through, strict=False):
            lane.accepted(taken_through)
        self.progress.set()

    # -- while connected

    async def _send_packets(self, data: ClientConnection) -> None:
        encoder = HopEncoder()
        while True:
            self._wake.clear()
            idle = True
            for index, lane in enumerate(self.lanes):
                packet = lane.next_packet()
                if packet is not None:
                    idle = False
                    await data.send(encoder.encode(Envelope(index, *packet)))
            if idle:
                await self._wake.wait()

    async def _take_acks(self, data: ClientConnection) -> None:
        async for message in data:
            if isinstance(message, str):
                answer = decode_data_down(message)
                raise _error_lost(answer) if isinstance(answer, Error) else MessageError("ack expected")
            ack = decode_ack(message)
            if ack.lane_index >= len(self.lanes):
                raise MessageError(f"ack for lane {ack.lane_index}, which was not opened")
            lane = self.lanes[ack.lane_index]
            lane.acknowledged(ack.range_kind, ack.number)
            self.progress.set()
            if lane.has_unsent:  # for room that there is now
                self._wake.set()
        raise _LostError(f"{self._url} closed the connection")

    async def _send_messages(self, control: ClientConnection) -> None:
        while True:
            await control.send(encode_message(await self._messages.get()))

    async def _take_messages(self, control: ClientConnection) -> None:
        async for message in control:
            answer = decode_server_message(message)
            if isinstance(answer, Error):
                raise _error_lost(answer)
            if isinstance(answer, TablesWanted):
                await self._send_tables(control, answer.hashes)
            if isinstance(answer, Command):
                refusal = "this version of the agent runs no commands"
                self.say(CommandStatus(answer.command_id, "rejected", error=refusal))
        raise _LostError(f"{self._url} closed the connection")

    async def _send_tables(self, control: ClientConnection, hashes: Sequence[str]) -> None:
        """At once and not queued: on the next connection they may not be wanted any more."""
        for wanted in hashes:
            for part in table_parts(wanted, self._answers.table(wanted) or b""):
                await control.send(encode_message(part))

    async def _beat(self, beat_seconds: float) -> None:
        clock = self._clock
        while True:
            await asyncio.sleep(beat_seconds)
            self.counts.beats += 1
            self.say(Heartbeat(clock.monotonic_ns(), clock.wall_ns(), clock.synchronised()))
            self._answers.on_beat()

    async def _greet_again(self) -> None:
        await self._again.wait()
        raise _GreetAgain

    def _set_state(self, state: UplinkState) -> None:
        self.state = state
        self.counts.changed(connected=state.connected, refused=state.refused, now_ns=self._clock.wall_ns())
        self.progress.set()
        self._answers.on_state(state)


def _keep_kernel_queue_short(connection: ClientConnection) -> None:
    opened: socket.socket | None = connection.transport.get_extra_info("socket")
    if opened is not None:
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _WRITE_LIMIT_BYTES)


async def _answer(connection: ClientConnection) -> str | bytes:
    try:
        return await asyncio.wait_for(connection.recv(), ANSWER_TIMEOUT_SECONDS)
    except TimeoutError:
        raise _LostError(f"no answer to hello within {ANSWER_TIMEOUT_SECONDS:.0f} s") from None


def _tls_context(url: str, ca_file: Path | None) -> ssl.SSLContext | None:
    if websocket_url(url, "/").startswith("ws:"):
        return None
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        reason = error.strerror or str(error)
        raise UplinkError(
            f"{ca_file} cannot be used: {reason}; name a PEM file with the server's CA"
        ) from error


def _error_lost(error: Error) -> _LostError:
    return _LostError(f"the server says {error.code}: {error.message}", refused=error.code in _REFUSALS)


def _lost(closed: ConnectionClosed) -> _LostError:
    reason = closed.rcvd.reason if closed.rcvd is not None else ""
    return _LostError(f"the connection is lost ({reason or _reason(closed)})")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {OPEN_TIMEOUT_SECONDS:.0f} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}; see `server.ca_file`"
    if isinstance(error, ssl.SSLError | socket.gaierror):
        return error.strerror or str(error)
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # asyncio's own text is of less use
    return str(error) or type(error).__name__
