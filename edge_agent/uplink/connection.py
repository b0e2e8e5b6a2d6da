"""One connection to the stream server: two WebSockets that live and die together.

Control comes first, so that the server knows the dongles before their lanes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from can_stream.lanes.sender import MAX_BACKLOG_FRAMES
from can_stream.protocol.control import (
    PROTOCOL_VERSION,
    AgentControlMessage,
    Command,
    CommandStatus,
    Error,
    Heartbeat,
    Hello,
    RelaySource,
    TablesWanted,
    Welcome,
    decode_server_control_message,
    encode_control_message,
    table_parts,
    version_of,
)
from can_stream.protocol.errors import ControlMessageError, WireError
from can_stream.protocol.hop import Envelope, HopEncoder, decode_ack, decode_ping
from can_stream.protocol.lanes_control import (
    MAX_STARTS,
    LanesHello,
    LanesWelcome,
    decode_data_down,
    encode_lanes,
)
from can_stream.protocol.packet_head import as_version_1
from can_stream.protocol.packets import without_marker
from edge_agent.host.clock import Clock
from edge_agent.uplink.ages import SentAges
from edge_agent.uplink.hello import as_version_1 as hello_as_version_1
from edge_agent.uplink.lost import LostError, lost_by_closing, lost_by_error
from edge_agent.uplink.opening import CLOSE_TIMEOUT_SECONDS, ServerDoor
from edge_agent.uplink.state import UplinkState
from edge_agent.uplink.traffic import Traffic

ANSWER_TIMEOUT_SECONDS: Final = 20.0
# The library waits for a goodbye, but longer for room to say its own.
MOST_CLOSE_SECONDS: Final = CLOSE_TIMEOUT_SECONDS + 0.1
# For the answer to a ping once the network has changed.
STILL_THERE_SECONDS: Final = 2.5
# Together they must fit into one message of at most 256 KiB: a range takes up to 131 bytes, 52 of them what
# it is carried for; a start takes up to 60.
_RANGES_IN_ALL: Final = 1200
_STARTS_IN_ALL: Final = 1500
_logger: Final = logging.getLogger(__name__)


async def _at_once() -> None:
    """There is no spool."""


class Answers(Struct, frozen=True):
    """What the uplink asks its agent, in the event loop.

    `hello`: what to say at each connection. `table`: the signal table of a hash that the server wants.
    `on_state` is told of each change, `on_beat` after each heartbeat. `spool_is_read` is waited for before a
    server of version 1 is greeted: what is not listed to it, it takes for lost. `on_source`: whose frames are
    carried for what from now on.
    """

    hello: Callable[[], Hello]
    table: Callable[[str], bytes | None] = lambda _: None
    on_state: Callable[[UplinkState], None] = lambda _: None
    on_beat: Callable[[], None] = lambda: None
    spool_is_read: Callable[[], Awaitable[object]] = _at_once
    on_source: Callable[[RelaySource], None] = lambda _: None


class Connection:
    """Opened, greeted and used once; `on_welcome` is called when the server has said yes to all of it."""

    def __init__(
        self,
        door: ServerDoor,
        traffic: Traffic,
        answers: Answers,
        clock: Clock,
        on_welcome: Callable[[], None],
    ) -> None:
        self._door = door
        self._traffic = traffic
        self._lanes = traffic.lanes
        self._answers = answers
        self._clock = clock
        self._on_welcome = on_welcome
        self._version = PROTOCOL_VERSION
        self._tables_sent: set[str] = set()
        self._ages = SentAges()

    async def run(self) -> None:
        """Until the server is to be greeted again. LostError when it ends otherwise."""
        try:
            async with self._opened("/ws/agent") as control:
                welcome = await self._greet(control)
                async with self._opened("/ws/data") as data:
                    if self._traffic.greet_again.is_set():  # lanes have come since hello that it did not name
                        return
                    await self._open_lanes(data)
                    self._on_welcome()
                    await self._stream(control, data, welcome.heartbeat_seconds)
        except ConnectionClosed as closed:
            raise lost_by_closing(closed) from closed
        except WireError as error:
            raise LostError(f"{self._door.url} does not speak this protocol: {error}") from error
        except LostError:
            raise
        except Exception as error:
            # For one, a transport of Python 3.11 raises AttributeError when it is aborted after a close that
            # had to wait for its buffer. Whatever it is, the agent must go on.
            text = "the connection to %s broke in an unexpected way"
            _logger.warning(text, self._door.url, exc_info=True)
            raise LostError(f"the connection broke ({type(error).__name__}: {error})") from error
        finally:
            for lane in self._lanes:
                lane.disconnect()

    @asynccontextmanager
    async def _opened(self, path: str) -> AsyncIterator[ClientConnection]:
        """Open meanwhile; whoever does not listen any more, or floods, does not keep it from being closed."""
        connection = await self._door.open(path)
        try:
            yield connection
        finally:
            try:
                async with asyncio.timeout(MOST_CLOSE_SECONDS):
                    await connection.close()
            except TimeoutError:
                with suppress(AttributeError):  # of a transport of Python 3.11 that was about to close
                    connection.transport.abort()

    # -- greeting

    async def _greet(self, control: ClientConnection) -> Welcome:
        self._version = version_of(control.subprotocol)
        if self._version == 1:
            await self._answers.spool_is_read()
        hello = replace(self._answers.hello(), protocol=self._version)
        await control.send(self._encoded(hello))
        answer = decode_server_control_message(await _answer(control))
        if isinstance(answer, Welcome):
            self._traffic.server_offset_ns = answer.server_wall_ns - self._clock.monotonic_ns()
            return answer
        if isinstance(answer, Error):
            raise lost_by_error(self._door.way, answer)
        raise ControlMessageError("welcome expected")

    async def _open_lanes(self, data: ClientConnection) -> None:
        now_seconds = self._clock.monotonic_seconds()
        lanes = max(1, len(self._lanes))
        max_ranges, max_starts = _RANGES_IN_ALL // lanes, min(MAX_STARTS, _STARTS_IN_ALL // lanes)
        for lane in self._lanes:
            lane.on_unsent = self._traffic.has_unsent.set
            lane.max_backlog_frames = MAX_BACKLOG_FRAMES // len(self._lanes)
        hellos = [lane.connect(now_seconds, max_ranges, max_starts) for lane in self._lanes]
        if version_of(data.subprotocol) != self._version:
            raise ControlMessageError("one version on both connections expected")
        hello = LanesHello(self._answers.hello().start_id, hellos, ages=True)
        await data.send(encode_lanes(hello, self._version))
        answer = decode_data_down(await _answer(data))
        if isinstance(answer, Error):
            raise lost_by_error(self._door.way, answer)
        if not isinstance(answer, LanesWelcome) or len(answer.taken_through) != len(hellos):
            raise ControlMessageError("lanes_welcome for every lane expected")
        self._ages.is_wanted = answer.ages and self._version > 1
        books = answer.books or [[] for _ in hellos]
        if len(books) != len(hellos):
            raise ControlMessageError("books for every lane expected")
        for lane, taken_through, known in zip(self._lanes, answer.taken_through, books, strict=False):
            lane.accepted(taken_through, known)
        self._traffic.progress.set()

    # -- while connected

    async def _stream(self, control: ClientConnection, data: ClientConnection, beat_seconds: float) -> None:
        jobs: list[Awaitable[object]] = [
            self._send_packets(data),
            self._take_acks(data),
            self._send_control(control),
            self._take_control(control),
            self._beat(beat_seconds),
            self._answer_where_the_network_changes(control),
            self._traffic.greet_again.wait(),
        ]
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except LostError as lost:
            if lost.at_once:  # nobody is there to say goodbye to
                control.transport.abort()
                data.transport.abort()
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send_packets(self, data: ClientConnection) -> None:
        encoder = HopEncoder(self._version)
        has_unsent = self._traffic.has_unsent
        while True:
            has_unsent.clear()
            idle = True
            for index, lane in enumerate(self._lanes):
                # What is relayed goes whatever a budget says: its gateway's file wants that.
                may_send = lane.activation or not self._traffic.is_spent
                sent = lane.next_held() if may_send else None
                if sent is not None:
                    idle = False
                    kind, held = sent
                    content = held.packet if self._ages.is_wanted else without_marker(held.packet)
                    content = as_version_1(content) if self._version == 1 else content
                    age = self._ages.of(held, self._clock.boottime_ns()) if lane.activation else None
                    await data.send(encoder.encode(Envelope(index, kind, content, age)))
            if idle:
                await has_unsent.wait()

    async def _take_acks(self, data: ClientConnection) -> None:
        async for content in data:
            if isinstance(content, str):
                answer = decode_data_down(content)
                raise (
                    lost_by_error(self._door.way, answer)
                    if isinstance(answer, Error)
                    else ControlMessageError("ack expected")
                )
            if (ping := decode_ping(content)) is not None:
                self._ages.take_ping(ping, self._clock.boottime_ns())
                continue
            ack = decode_ack(content)
            if ack.lane_index >= len(self._lanes):
                raise ControlMessageError(f"ack for lane {ack.lane_index}, which was not opened")
            lane = self._lanes[ack.lane_index]
            lane.acknowledged(ack.range_kind, ack.number)
            self._traffic.acknowledged(ack.lane_index, self._clock.monotonic_seconds())
            self._traffic.progress.set()
            if lane.has_unsent:  # for room that there is now
                self._traffic.has_unsent.set()
        raise LostError(f"{self._door.url} closed the connection")

    async def _send_control(self, control: ClientConnection) -> None:
        while True:
            await control.send(self._encoded(await self._traffic.next_control_message()))

    def _encoded(self, said: AgentControlMessage) -> str:
        return encode_control_message(hello_as_version_1(said) if self._version == 1 else said)

    async def _take_control(self, control: ClientConnection) -> None:
        async for content in control:
            control_message = decode_server_control_message(content)
            if isinstance(control_message, Error):
                raise lost_by_error(self._door.way, control_message)
            if isinstance(control_message, TablesWanted):
                await self._send_tables(control, control_message.hashes)
            if isinstance(control_message, RelaySource):
                self._answers.on_source(control_message)
            if isinstance(control_message, Command):
                refusal = "this version of the agent runs no commands"
                self._traffic.say(CommandStatus(control_message.command_id, "rejected", error=refusal))
        raise LostError(f"{self._door.url} closed the connection")

    async def _send_tables(self, control: ClientConnection, hashes: Sequence[str]) -> None:
        """At once and not queued: on the next connection they may not be wanted any more.

        Each once, and while there is a budget for it.
        """
        for wanted in hashes:
            if wanted in self._tables_sent or (table := self._answers.table(wanted)) is None:
                continue
            self._tables_sent.add(wanted)
            for part in table_parts(wanted, table):
                if self._traffic.is_spent:
                    return
                await control.send(encode_control_message(part))

    async def _beat(self, beat_seconds: float) -> None:
        clock = self._clock
        while True:
            await asyncio.sleep(beat_seconds)
            self._traffic.counts.beats += 1
            self._traffic.say(Heartbeat(clock.monotonic_ns(), clock.wall_ns(), clock.synchronised()))
            self._answers.on_beat()

    async def _answer_where_the_network_changes(self, control: ClientConnection) -> None:
        """LostError where nothing comes back any more: the keepalive would notice after most of a minute."""
        changed = self._traffic.network_changed
        changed.clear()
        while True:
            await changed.wait()
            changed.clear()
            try:
                async with asyncio.timeout(STILL_THERE_SECONDS):
                    await (await control.ping())
            except TimeoutError:
                reason = "the connection is lost (the network has changed, and no answer comes any more)"
                raise LostError(reason, at_once=True) from None


async def _answer(connection: ClientConnection) -> str | bytes:
    try:
        # Not wait_for, which in Python 3.11 forgets a cancellation that comes together with the answer.
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            return await connection.recv()
    except TimeoutError:
        raise LostError(f"no answer to hello within {ANSWER_TIMEOUT_SECONDS:.0f} s") from None
