"""A sink between a small server and a bus of the test's own: the model's actions, and what must hold.

Frames have numbers in the order in which they were made, and carry them as data: what is on the bus can be
named. One clock for all; what the sink knows of ages comes by `born_ns`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from msgspec import Struct

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of
from can_stream.protocol.control import Confirms
from can_stream.protocol.marker import activation_name
from can_stream.protocol.relay_control import NOT_SENT, Cursor, Direction, NotSent, SinkHello, Totals
from can_stream.protocol.relay_items import Counts
from edge_agent.config.transmit import RelaySection, ReplayRule
from edge_agent.relay.bus_facts import BusFacts
from edge_agent.relay.record import MAX_BURST, RECORD_BYTES, SLOT_BYTES, Record
from edge_agent.relay.sink import Sink, SinkLimits
from edge_agent.transmit.policy import RelayPolicy, TargetBus

MS: Final = 1_000_000
MAX_AGE_NS: Final = 2_000 * MS
LEASE_NS: Final = 500 * MS
NEVER_ID, LATEST_ID, OTHER_ID = 0x100, 0x200, 0x300
SECTION: Final = RelaySection(
    transmit="all",
    max_age_seconds=MAX_AGE_NS / 1e9,
    policy=[ReplayRule(NEVER_ID, "never"), ReplayRule(LATEST_ID, "latest")],
)


class KilledError(Exception):
    """The process is gone in the middle of a write."""


class Memory(bytearray):
    """A mapped file. The write after `writes_left` others is torn behind `torn_at` bytes by a kill."""

    writes_left = -1
    torn_at = 0

    def __setitem__(self, part: Any, content: Any) -> None:
        if self.writes_left == 0:
            begin = part.start
            super().__setitem__(slice(begin, begin + self.torn_at), content[: self.torn_at])
            raise KilledError
        self.writes_left -= 1
        super().__setitem__(part, content)


class Packet(Struct):
    """Frames of one start, as the server has them; `activation` 0: made for none."""

    start_id: str
    position: int
    frames: FrameBatch
    others: list[bool]
    born_ns: int
    activation: int
    reason: NotSent | None = None

    @property
    def end(self) -> int:
        return self.position + len(self.frames)

    def count_from(self, position: int) -> int:
        return sum(self.others[max(0, position - self.position) :])


class Written(Struct):
    """A frame in the driver: which process wrote it; `is_lone`: no echo had come since the last trouble."""

    number: int
    process: int
    is_lone: bool


class Connection:
    """What is on its way; all of it is lost where it is cut."""

    def __init__(self, record_id: str) -> None:
        self.record_id = record_id
        self.down: deque[Callable[[], None]] = deque()
        self.up: deque[Callable[[], None]] = deque()
        self.handed: set[int] = set()
        self.frames = 0
        self.credit = 0
        self.directions = self.directions_heard = 0


class World:
    """`act` does one thing, a small number says which; what must never happen is an AssertionError."""

    def __init__(self, *, can_probe: bool = False, confirms: Confirms = "bus") -> None:
        self.now_ns = 10**12
        self.facts = BusFacts(
            TargetBus(listen_only=False, fd=False),
            confirms,
            can_probe,
            bit_rate=500_000,
        )
        self.packets: list[Packet] = []
        self.frames_made = self.starts = 0
        self.kinds: dict[int, Packet] = {}
        self.new_start()
        # the server: what is durable, then what its process knows
        self.settled: dict[str, Cursor] = {}
        self.served: str | None = None
        self.active = self.activations = 0
        self.ended_ns: dict[int, int] = {}
        self.live: set[int] = set()
        self.offered: set[int] = set()
        self.doubtful: set[int] = set()  # which may have been handed to another record
        self.connection: Connection | None = None
        # the bus, its driver, and what has not been read back yet
        self.bus: list[int] = []
        self.driver: deque[Written] = deque()
        self.echoes: deque[tuple[int, bool]] = deque()  # and whether it is marked as an own one
        self.forgotten: set[int] = set()  # of which nobody knows any more
        self.doubt_allowed = 0
        # the gateway, and a second one with its token
        self.boots = self.records = 0
        self.memory, self.spare = Memory(RECORD_BYTES), Memory(RECORD_BYTES)
        self.start_sink()

    # -- the source

    def new_start(self) -> None:
        """A starts anew."""
        self.starts += 1
        self.start_id, self.position = f"{self.starts:016x}", 0

    def produce(self, x: int) -> None:
        """A packet of a few frames, among them own echoes, error frames, and ids with a policy."""
        rows, others = [], []
        for _ in range(1 + x % 5 * (1 + x % 7)):
            self.frames_made += 1
            number = self.frames_made
            is_own, is_error = number % 11 == 3, number % 17 == 5
            flags = FrameFlag.TX if is_own else FrameFlag.ERROR if is_error else 0
            can_id = (OTHER_ID, OTHER_ID, NEVER_ID, OTHER_ID, LATEST_ID)[number % 5]
            rows.append((0, can_id, int(flags), 8, number.to_bytes(8, "big")))
            others.append(not is_own and not is_error)
        packet = Packet(self.start_id, self.position, batch_of(rows), others, self.now_ns, self.active)
        for number in range(self.frames_made - len(rows) + 1, self.frames_made + 1):
            self.kinds[number] = packet
        self.live.add(len(self.packets))
        self.packets.append(packet)
        self.position += len(rows)

    # -- the server

    def activate(self) -> None:
        """An operator's word."""
        if not self.active:
            self.activations += 1
            self.active = self.activations
            self.tell()

    def deactivate(self) -> None:
        """What is left becomes counts, and it is B that settles them."""
        if self.active:
            self.ended_ns[self.active], self.active = self.now_ns, 0
            self.tell()

    def tell(self) -> None:
        """The directions of this moment, to whoever is connected."""
        if self.connection is not None:
            self.direct(self.connection, begins_anew=False)

    def direct(self, c: Connection, *, begins_anew: bool) -> None:
        """What came before counts no more on this connection."""
        c.handed, c.frames, c.credit = set(), 0, 0
        c.directions += 1
        direction = None
        if self.activations:
            cursors = list(self.settled.values())
            direction = Direction("b", "a", self.name(self.activations), False, begins_anew, cursors)
        c.down.append(lambda: self.directed(c, direction))

    @staticmethod
    def name(number: int) -> str:
        """Of an activation."""
        return activation_name("ab" * 16, number)

    def greeted(self, hello: SinkHello) -> None:
        """A sink has come: what another record says than the one that was served does not count."""
        c = self.connection = Connection(hello.record_id)
        begins_anew = self.served not in (None, hello.record_id)
        if begins_anew:
            self.doubtful |= self.offered
        else:
            for cursor in hello.cursors:
                self.settle(cursor)
        self.direct(c, begins_anew=begins_anew)

    def settle(self, cursor: Cursor) -> None:
        """Positions and totals are absolute: whoever is ahead is believed."""
        known = self.settled.get(cursor.start_id)
        if known is None or known.position < cursor.position:
            self.settled[cursor.start_id] = cursor

    def at(self, start_id: str) -> int:
        """How far a start is settled, as the server knows."""
        return self.settled[start_id].position if start_id in self.settled else 0

    def credited(self, c: Connection, frames: int, directions: int) -> None:
        """Only now it is known that the sink has heard the directions: from here on its record is served."""
        if directions == c.directions:
            c.credit = frames
            self.served = c.record_id

    def hand(self, x: int) -> None:
        """The next that is unsettled, in order."""
        c = self.connection
        for index, packet in enumerate(self.packets):
            if c is None or not c.credit or c.frames >= c.credit:
                return
            at = max(self.at(packet.start_id), packet.position)
            if not packet.activation or index in c.handed or at >= packet.end:
                continue
            c.handed.add(index)
            reason: NotSent | None = packet.reason
            if not reason and packet.activation != self.active:
                reason = "deactivated"
            if not reason and self.now_ns - packet.born_ns > MAX_AGE_NS:
                reason = "too_old"
            if reason:
                frames = packet.count_from(at)
                counts = Counts(0, packet.start_id, at, packet.end, frames, reason, index in self.doubtful)
                self.hand_counts(c, counts)
            else:
                self.hand_item(c, index, packet, x)
            return

    def hand_counts(self, c: Connection, counts: Counts) -> None:
        """A row in the place of frames."""
        c.down.append(lambda: self.sink.take_counts(counts, self.now_ns))

    def hand_item(self, c: Connection, index: int, packet: Packet, x: int) -> None:
        """As it was received, whatever of it is settled already; its age is an upper bound."""
        fresh = index in self.live
        self.live.discard(index)
        self.offered.add(index)
        c.frames += len(packet.frames)
        born_ns = None if x % 23 == 22 else packet.born_ns - x * MS
        c.down.append(
            lambda: self.sink.take_item(
                packet.start_id, packet.position, packet.frames, born_ns, fresh, self.now_ns
            )
        )

    # -- the gateway

    def start_sink(self) -> None:
        """A process begins; the record says what the one before it did."""
        self.records += 1
        self.memory.writes_left = -1
        self.echoes.clear()
        self.has_echo = self.facts.confirms != "bus"
        doubt = self.totals(Record(Memory(self.memory), self.boot, "0" * 32, self.now_ns).cursors()).in_doubt
        record = Record(self.memory, self.boot, f"{self.records:032x}", self.now_ns)
        self.sink = Sink(
            "b", record, RelayPolicy(SECTION), SinkLimits(2.0, LEASE_NS / 1e9, queue_frames=60), self.now_ns
        )
        after = self.totals(record.cursors()).in_doubt
        assert after - doubt <= MAX_BURST, f"{after - doubt} frames in doubt by one kill"

    @property
    def boot(self) -> str:
        """The id of this boot."""
        return f"boot {self.boots}"

    def kill(self) -> None:
        """What is in the driver goes out all the same."""
        self.connection = None
        self.start_sink()

    def power(self, x: int) -> None:
        """All is lost; of the record there may be anything."""
        self.driver.clear()
        self.boots += 1
        if x % 2:
            self.memory[0 : SLOT_BYTES // 2] = bytes([x]) * (SLOT_BYTES // 2)
        self.kill()

    def wipe(self) -> None:
        """The runtime directory is new."""
        self.forgotten |= {written.number for written in self.driver}
        self.memory = Memory(RECORD_BYTES)
        self.kill()

    def swap(self) -> None:
        """Another machine with the same token takes this one's place at the same bus."""
        self.flush()
        self.memory, self.spare = self.spare, self.memory
        self.kill()

    def directed(self, c: Connection, direction: Direction | None) -> None:
        """B hears its directions, and answers with its positions and then with credit."""
        self.sink.directed(direction, self.now_ns)
        c.directions_heard += 1

    def say(self) -> None:
        """B reports."""
        c = self.connection
        if c is None or not c.directions_heard:  # what a record says before does not count yet
            return
        for cursor in self.sink.moved():
            c.up.append(partial(self.settle, cursor))
        credit, heard = self.sink.credit, c.directions_heard
        if credit:
            c.up.append(lambda: self.credited(c, credit, heard))

    def ping(self) -> None:
        """B asks for its lease; the answer is on its way down."""
        c, sent_ns = self.connection, self.now_ns
        if c is not None:
            on = [self.name(self.active)] if self.active else []
            c.down.append(lambda: self.sink.leased(sent_ns, on))

    def send(self, x: int) -> None:
        """B's next burst goes into the driver, which may not have room for all of it."""
        burst = self.sink.next_burst(self.now_ns, self.facts)
        if burst is None:
            return
        numbers = [int.from_bytes(bytes(row), "big") for row in burst.data]
        taken = len(numbers) if x % 4 else x % (len(numbers) + 1)
        if self.facts.confirms != "bus":
            taken = min(
                taken, MAX_BURST - len(self.driver)
            )  # it has a queue of its own, and says no more of it
        for number in numbers:
            self.may_send(number)
        self.has_echo &= not self.sink.must_empty
        if self.facts.confirms == "bus":
            self.may_enter(len(numbers))
        self.driver.extend(Written(number, self.records, not self.has_echo) for number in numbers[:taken])
        self.sink.written(taken, self.now_ns)

    def take_one(self) -> None:
        """The bus takes a frame; its echo waits to be read."""
        if self.driver:
            written = self.driver.popleft()
            self.on_bus(written.number)
            is_marked = written.process == self.records
            if is_marked or self.facts.confirms == "bus":  # another one's socket hears it as anybody's
                self.echoes.append((written.number, is_marked))

    def flush(self) -> None:
        """All that is in the driver goes out."""
        while self.driver:
            self.take_one()

    def read(self, x: int) -> None:
        """Echoes are read; one may be lost. What is relayed back is what does not look like an own frame."""
        read = list(self.echoes)[x % 9 == 8 :]
        self.echoes.clear()
        if not read:
            return
        tx = int(FrameFlag.TX)
        frames = batch_of(
            (0, self.id_of(n), tx if is_marked else 0, 8, n.to_bytes(8, "big")) for n, is_marked in read
        )
        known = self.sink.driver.late.marked(frames, self.now_ns)
        for (number, _), flags in zip(read, known.flags.tolist(), strict=True):
            assert flags & tx or number in self.forgotten, f"(10) frame {number} is sent back"
        own = frames[(frames.flags & FrameFlag.TX) != 0]
        if len(own):
            self.has_echo |= self.sink.echoed(own, self.now_ns) > 0

    def id_of(self, number: int) -> int:
        """The id of a frame."""
        packet = self.kinds[number]
        data = packet.frames.data.tobytes()
        row = data.index(number.to_bytes(8, "big")) // 8
        return int(packet.frames.arbitration_id[row])

    # -- what must never happen

    def may_send(self, number: int) -> None:
        """(5) never too old, (8) made for an activation, (9) within the lease, (10) no own echo."""
        packet = self.kinds[number]
        row = packet.frames.data.tobytes().index(number.to_bytes(8, "big")) // 8
        assert packet.others[row], f"(10) frame {number} is no frame of others"
        assert packet.frames.arbitration_id[row] != NEVER_ID, f"frame {number} is never to be sent"
        assert self.now_ns - packet.born_ns <= MAX_AGE_NS, f"(5) frame {number} is sent too old"
        assert packet.activation, f"(8) frame {number} is made for no activation"
        ended_ns = self.ended_ns.get(packet.activation, self.now_ns)
        assert self.now_ns - ended_ns <= LEASE_NS, f"(9) frame {number} is sent after the lease"

    def may_enter(self, frames: int) -> None:
        """(5) Nothing goes behind what may come out too late, but one frame where that is how it is found."""
        assert frames <= (MAX_BURST if self.has_echo else 1), "(5) frames before an echo has come"
        assert not self.driver or self.facts.can_probe, "(5) a burst goes behind what has not come out"
        mine = [written for written in self.driver if written.process == self.records]
        assert not any(written.is_lone for written in mine), (
            "(5) a second frame to find out whether one came out"
        )

    def on_bus(self, number: int) -> None:
        """(1) never twice, (2) in order."""
        assert number not in self.bus, f"(1) frame {number} is twice on the bus"
        assert not self.bus or number > self.bus[-1], f"(2) frame {number} comes after {self.bus[-1]}"
        self.bus.append(number)

    @staticmethod
    def totals(cursors: list[Cursor]) -> Totals:
        """Of all starts."""
        sent = sum(cursor.totals.sent for cursor in cursors)
        accepted = sum(cursor.totals.accepted for cursor in cursors)
        doubt = sum(cursor.totals.in_doubt for cursor in cursors)
        not_sent: Counter[Any] = Counter()
        for cursor in cursors:
            not_sent.update(cursor.totals.not_sent)
        return Totals(sent, accepted, doubt, dict(not_sent))

    # -- the actions

    def act(self, name: str, x: int = 0) -> None:
        """One of ACTIONS; a kill that was set ends the process in the middle of it."""
        try:
            self.do(name, x)
        except KilledError:
            self.kill()

    def do(self, name: str, x: int) -> None:
        """No more than what its name says; nothing where it does not apply."""
        c = self.connection
        if name == "down" and c is not None and c.down:
            c.down.popleft()()
        elif name == "up" and c is not None and c.up:
            c.up.popleft()()
        elif name == "connect":
            self.sink.disconnected(self.now_ns)
            self.greeted(self.sink.hello())
        elif name == "cut":
            self.connection = None
            self.sink.disconnected(self.now_ns)
        elif name == "restart_server":
            self.live.clear()
            self.offered.update(range(len(self.packets)))
            self.act("cut")
        elif name == "trim" and self.packets:
            self.packets[x % len(self.packets)].reason = "trimmed"
        elif name == "tick":
            self.read(0)  # a bus is read within milliseconds
            self.now_ns += (1 + x * x) * 5 * MS
            self.sink.tick(self.now_ns)
        elif name == "tear":
            self.memory.writes_left, self.memory.torn_at = x % 3, x * 29
        elif name == "empty" and not self.driver and not self.facts.can_probe:
            self.sink.emptied(self.now_ns)
        else:
            self.simple(name, x)

    def simple(self, name: str, x: int) -> None:
        """Those that are one method, with or without the number."""
        if name in ("produce", "hand", "power", "send", "read", "flow"):
            getattr(self, name)(x)
        elif name in SIMPLE:
            getattr(self, name)()

    def flow(self, x: int = 0) -> None:
        """Nothing goes wrong for a while; but 3, 7...: nobody acknowledges on the bus."""
        if self.connection is None:
            self.act("connect")
        for name in ("ping", "say", "up", "up", "up", "hand", "hand", "down", "down", "down", "down"):
            self.act(name)
        for _ in range(3):
            self.act("send", 1)
            for _ in range(len(self.driver) if x % 4 < 3 else 0):
                self.act("take_one")
            self.act("read")
            self.act("empty")
        for name in ("say", "up", "up", "up"):
            self.act(name)

    def quiesce(self) -> None:
        """(7) Nothing waits for ever, and (3) each frame is in one count."""
        self.memory.writes_left = -1
        for _ in range(300):
            self.flow()
            if not self.driver:  # where an echo was lost, somebody opens the bus again
                self.sink.emptied(self.now_ns)
            self.act("tick", 4)
            wanted = [p for p in self.packets if p.activation and self.at(p.start_id) < p.end]
            if not wanted:
                break
        assert not wanted, f"(7) {len(wanted)} packets are still unsettled when all is quiet"
        totals = self.totals(list(self.settled.values()))
        assert set(totals.not_sent) <= set(NOT_SENT)
        counted = totals.sent + totals.accepted + totals.in_doubt + sum(totals.not_sent.values())
        made = sum(p.count_from(0) for p in self.packets if p.activation)
        assert counted == made, f"(3) {made} frames of others were made, {counted} are counted: {totals}"
        assert totals.sent <= len(self.bus) <= totals.sent + totals.accepted + totals.in_doubt, "(3) sent"


SIMPLE: Final = frozenset(
    ("activate", "deactivate", "kill", "wipe", "swap", "say", "ping", "take_one", "new_start")
)
ACTIONS: Final = {
    "produce": 8, "hand": 8, "down": 12, "up": 8, "say": 6, "ping": 5, "send": 12, "take_one": 12, "read": 8,
    "tick": 5, "empty": 3, "connect": 2, "cut": 1, "kill": 1, "power": 0.5, "wipe": 0.5, "swap": 0.5,
    "tear": 1, "activate": 1, "deactivate": 0.5, "restart_server": 0.5, "trim": 0.5, "new_start": 0.5,
    "flow": 8,
}  # fmt: skip
