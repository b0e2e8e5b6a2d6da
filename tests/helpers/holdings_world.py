"""One lane between machines of one identity and one server, step by step: who holds what.

Machines have a spool file each, which may be locked, mounted late, wiped, torn, copied or swapped; a process
waits until it owns its machine. The server's half is the real one. Letters in brackets name what must hold:

    (a) every frame that was told is recorded or in exactly one gap, and no more than were made
    (b) no agent deletes a frame that was never in the recording
    (c) nothing is recorded twice
    (d) the books that a hello is answered with are those of the recording
    (e) the recording has each start in its order
    (f) no hole is left once everything has come back and days have passed
    (g) nothing is held for ever
    (h) nothing that somebody holds is said to be lost, as long as no card was copied
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from can_stream.frames.batches import FrameFlag, batch_of
from can_stream.lanes.holdings import NewGap
from can_stream.lanes.intervals import IntervalSet
from can_stream.lanes.receiver import LaneConnection, LaneReceiver
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import BacklogRange, LaneHello, LedgerEntry, StartBooks
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Gap, GapReason, Packet
from tests.helpers.holdings_stores import Store, ids_of

FLUSH, HOLE, MAX_RANGES, CHUNK = 2, 12, 3, 2
LIVE, BACKLOG = RangeKind.LIVE, RangeKind.BACKLOG


class ViolationError(AssertionError):
    """Something that must hold does not."""


def need(ok: object, text: str) -> None:
    """ViolationError where it is not so."""
    if not ok:
        raise ViolationError(text)


def span(packet: Packet) -> range:
    """The positions that it covers."""
    position = packet.position or 0
    return range(position, position + (packet.frames or 0))


@dataclass(eq=False)
class File:
    """A spool file: packets by number, and the ledger: last number, frames made, frames acknowledged."""

    rows: dict[PacketNumber, Packet] = field(default_factory=dict)
    ledger: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    synced: tuple[dict[PacketNumber, Packet], dict[str, tuple[int, int, int]]] = field(
        default_factory=lambda: ({}, {})
    )
    user: Process | None = None

    def copy(self) -> File:
        made = File(dict(self.rows), dict(self.ledger))
        made.sync()
        return made

    def sync(self) -> None:
        self.synced = dict(self.rows), dict(self.ledger)


@dataclass(eq=False)
class Machine:
    """`shadow` is the file below the mount point while nothing is mounted."""

    file: File = field(default_factory=File)
    shadow: File | None = None
    mounted: bool = True
    locked: bool = False
    processes: list[Process] = field(default_factory=list)
    owner: Process | None = None


@dataclass(eq=False)
class Wire:
    """One connection."""

    process: Process
    session: LaneConnection | None = None
    up: deque[Any] = field(default_factory=deque)
    down: deque[Any] = field(default_factory=deque)
    todo: dict[RangeKind, list[PacketNumber]] = field(default_factory=lambda: {LIVE: [], BACKLOG: []})
    sent: dict[RangeKind, list[PacketNumber]] = field(default_factory=lambda: {LIVE: [], BACKLOG: []})
    ready: bool = False
    dead: bool = False


class Process:
    """One run of an agent. Of version 1 it knows no positions, has no ledger and is never complete."""

    def __init__(self, world: World, machine: Machine) -> None:
        self.world, self.machine = world, machine
        self.start_id = f"{world.unique():016x}"
        self.seq = self.position = self.acknowledged = 0
        self.held: dict[PacketNumber, Packet] = {}
        self.born: dict[PacketNumber, int] = {}
        self.file: File | None = None
        self.wire: Wire | None = None
        self.books: StartBooks | None = None
        world.made[self.start_id] = 0
        self.open()
        if not self.waits:
            self._make(Gap(GapReason.START, 1, None))

    @property
    def waits(self) -> bool:
        return self.machine.owner is not self

    @property
    def version(self) -> int:
        return self.world.version

    def open(self) -> None:
        machine = self.machine
        if machine.owner is None:
            machine.owner = self
        if self.waits or self.file or (machine.locked and machine.mounted):
            return
        if not machine.mounted and machine.shadow is None:
            machine.shadow = File()
        file = machine.file if machine.mounted else machine.shadow
        assert file is not None
        if file.user is None:
            file.user, self.file = self, file

    def produce(self, ids: range, x: int) -> None:
        if not self.seq:
            self._make(Gap(GapReason.START, 1, None))
        rows = [(0, one, FrameFlag.EXTENDED, 0, b"") for one in ids]
        self._make(batch_of(rows))
        if x % 4 == 1:
            self._make(ClockRecord("boot", 0, synchronised=False))
        elif x % 4 == 2:
            self._make(Gap(GapReason.SOURCE, self.seq + 1, 2))

    def _make(self, body: Any) -> None:
        self.seq += 1
        packet = Packet(
            PacketNumber(self.start_id, self.seq), body, self.position if self.version > 1 else None
        )
        self.position += packet.frames or 0
        self.world.made[self.start_id] = self.position
        self.held[packet.number], self.born[packet.number] = packet, self.world.time
        if self.wire:
            self.wire.todo[LIVE].append(packet.number)

    def flush(self, *, everything: bool = False) -> None:
        if self.file and not (self.machine.locked and self.file is self.machine.file):
            for number, packet in self.held.items():
                old = self.world.time - self.born.get(number, 0) >= FLUSH
                if number not in self.file.rows and (everything or old):
                    self.file.rows[number] = packet
                    self.file.ledger[self.start_id] = self._entry
            if everything:
                self.file.ledger[self.start_id] = self._entry

    @property
    def _entry(self) -> tuple[int, int, int]:
        return self.seq, self.position, self.acknowledged

    def holds(self) -> dict[PacketNumber, Packet]:
        left = {n: p for n, p in self.file.rows.items() if n.start_id != self.start_id} if self.file else {}
        return {**left, **self.held}

    def connect(self) -> None:
        if self.waits:
            return
        if self.wire:
            self.wire.dead = True
        self.wire = wire = Wire(self)
        ranges: list[list[Packet]] = []
        for packet in self.holds().values():
            last = ranges[-1] if ranges else None
            if last and follows(last[-1], packet) and len(last) < CHUNK:
                last.append(packet)
            else:
                ranges.append([packet])
        listed = ranges[:MAX_RANGES]
        wire.todo[BACKLOG] = [packet.number for one in listed for packet in one]
        complete = self.file is not None and len(listed) == len(ranges)
        wire.up.append(self._hello([_range(one) for one in listed], complete=complete))
        self.world.wires.append(wire)

    def _hello(self, listed: list[BacklogRange], *, complete: bool) -> LaneHello:
        if self.version == 1:
            return LaneHello("can0", "frames", self.seq + 1, listed)
        ledger = {**(self.file.ledger if self.file else {}), self.start_id: self._entry}
        starts = [LedgerEntry(start_id, *entry) for start_id, entry in ledger.items()]
        return LaneHello("can0", "frames", self.seq + 1, listed, self.position, complete, starts)

    def send(self, kind: RangeKind) -> None:
        wire = self.wire
        while wire and wire.ready and wire.todo[kind]:
            number = wire.todo[kind].pop(0)
            packet = self.holds().get(number)
            if packet:
                wire.sent[kind].append(number)
                wire.up.append((kind, packet))
                return

    def take(self, wire: Wire, said: Any) -> None:
        if wire is not self.wire or wire.dead:
            return
        if said[0] == "welcome":
            wire.ready, self.books = True, said[2]
            for number in [n for n in self.held if n.seq <= said[1]]:
                self._release(number)
        elif said[1] in wire.sent[said[0]]:
            count = wire.sent[said[0]].index(said[1]) + 1
            for number in wire.sent[said[0]][:count]:
                self._release(number)
            del wire.sent[said[0]][:count]

    def _release(self, number: PacketNumber) -> None:
        packet = self.holds().get(number)
        self.held.pop(number, None)
        if self.file:
            self.file.rows.pop(number, None)
        if packet is None:
            return
        for one in ids_of(packet):
            need(one in self.world.ever, f"(b) frame {one} of {number} deleted, never in the recording")
        if not isinstance(packet.body, Gap):
            self._count(number.start_id, packet.frames or 0)

    def _count(self, start_id: str, frames: int) -> None:
        if start_id == self.start_id:
            self.acknowledged += frames
        elif self.file and start_id in self.file.ledger:
            last, made, acknowledged = self.file.ledger[start_id]
            self.file.ledger[start_id] = last, made, acknowledged + frames

    def trim(self) -> None:
        """The oldest data on disk becomes a gap, one with the gap before it."""
        before: Packet | None = None
        for number, packet in list(self.file.rows.items()) if self.file else ():
            body = packet.body
            if not isinstance(body, Gap | ClockRecord):
                gap = self._gap(packet, before)
                if gap.first_seq < number.seq and before is not None:
                    self._drop(before.number)
                self.file.rows[number] = gap  # type: ignore[union-attr]
                if number in self.held:
                    self.held[number] = gap
                return
            before = packet

    def _gap(self, packet: Packet, before: Packet | None) -> Packet:
        first, frames, position = packet.number.seq, packet.frames or 0, packet.position
        body = before.body if before is not None and follows(before, packet) else None
        if before is not None and isinstance(body, Gap) and body.reason is GapReason.SPOOL:
            first, position = before.first_seq, before.position
            frames += before.frames or 0
        return Packet(packet.number, Gap(GapReason.SPOOL, first, frames), position)

    def _drop(self, number: PacketNumber) -> None:
        assert self.file
        self.file.rows.pop(number, None)
        self.held.pop(number, None)

    def end(self, *, power: bool = False, clean: bool = False) -> None:
        if clean:
            self.flush(everything=True)
        if self.wire:
            self.wire.dead = True
        self.machine.processes.remove(self)
        if self.machine.owner is self:
            self.machine.owner = None
        if self.file:
            if power:
                rows, ledger = self.file.synced
                self.file.rows, self.file.ledger = dict(rows), dict(ledger)
            self.file.user = None


def follows(one: Packet, other: Packet) -> bool:
    """Whether one range may hold both."""
    return one.number.start_id == other.number.start_id and one.number.seq + 1 == other.first_seq


def _range(packets: list[Packet]) -> BacklogRange:
    first, last = packets[0], packets[-1]
    frames = sum(packet.frames or 0 for packet in packets)
    return BacklogRange(first.number.start_id, first.first_seq, last.number.seq, first.position, frames, None)


class World:
    """Everything. `version`: of every process."""

    def __init__(self, store: Store, version: int = 2) -> None:
        self.store, self.version = store, version
        self.time = self.running = self.moved = 0
        self._unique = self._ids = 0
        self.made: dict[str, int] = {}
        self.told: dict[str, int] = {}
        self.numbers: dict[str, IntervalSet] = {}
        self.listed: dict[tuple[str, int], int] = {}
        self.ever: set[int] = set()
        self.recorded_ids: dict[int, tuple[str, int]] = {}
        self.copied = False
        self.wires: list[Wire] = []
        self.machines = [Machine()]
        self._restart()
        self.do_backup(0)

    def unique(self) -> int:
        self._unique += 1
        return self._unique

    # -- the server

    def _restart(self) -> None:
        self.receiver = LaneReceiver()
        self.pending: list[Packet] = []
        self.current: Wire | None = None
        for wire in self.wires:
            wire.dead = True

    def _on(self, wire: Wire, said: Any) -> None:
        if isinstance(said, LaneHello):
            self.commit()
            for other in self.wires[: self.wires.index(wire)]:
                other.dead = True
            self.current = wire
            self._open(wire, said)
        elif wire is self.current and wire.session is not None:
            kind, packet = said
            if wire.session.received(kind, packet):
                self.pending.append(packet)

    def _open(self, wire: Wire, hello: LaneHello) -> None:
        own = wire.process.start_id
        for one in hello.backlog:
            self._tell(one.start_id, (one.position or 0) + one.frames)
            self._tell_numbers(one.start_id, one.first_seq, one.last_seq)
            self._list(one)
        for entry in hello.starts:
            self._tell(entry.start_id, entry.frames)
        opening = self.store.open(hello, own, float(self.running))
        self._check_alarms(opening.gaps)
        self.receiver.starts = opening.starts
        wire.session = LaneConnection(self.receiver, hello, own)
        books = {said.start_id: said for said in opening.books(hello, own)}
        for said in books.values():
            self._check_told(said)
        wire.down.append(("welcome", opening.starts[own].through, books[own]))

    def _check_told(self, books: StartBooks) -> None:
        start = self.store.starts().get(books.start_id)
        sums = (start.frames, start.in_gaps, start.in_holes) if start else (0, 0, 0)
        need(sums == (books.recorded, books.in_gaps, books.in_holes), f"(d) {books} is said of {sums}")
        if self.version > 1:
            need(sum(sums) >= self.told.get(books.start_id, 0), f"(d) {books} of {self.told[books.start_id]}")

    def _tell(self, start_id: str, frames: int) -> None:
        if self.version > 1:
            self.told[start_id] = max(frames, self.told.get(start_id, 0))

    def _list(self, one: BacklogRange) -> None:
        units = range(one.first_seq, one.last_seq + 1)
        if one.position is not None:
            units = range(one.position, one.position + one.frames)
        self.listed.update(((one.start_id, x), self.running) for x in units)

    def _tell_numbers(self, start_id: str, first: int, last: int) -> None:
        self.numbers.setdefault(start_id, IntervalSet()).add(first, last)

    def _check_alarms(self, gaps: list[NewGap]) -> None:
        if self.copied or self.version == 1:
            return
        held = {(p.number.start_id, x) for p in self.everything() if ids_of(p) for x in span(p)}
        for gap in gaps:
            lost = {(gap.start_id, x) for first, last in gap.parts for x in range(first, last + 1)}
            need(not lost & held, f"(h) {sorted(lost & held)} said to be lost, and still held")

    def commit(self) -> None:
        pending, self.pending = self.pending, []
        change = self.receiver.change(pending, float(self.running))
        for packet, is_new in zip(pending, change.accepted, strict=True):
            for one in ids_of(packet) if is_new else ():
                need(one not in self.recorded_ids, f"(c) frame {one} recorded twice")
                self.recorded_ids[one] = packet.number.start_id, packet.position or 0
                self.ever.add(one)
            self._tell_numbers(packet.number.start_id, packet.first_seq, packet.number.seq)
            if packet.position is not None:
                self._tell(packet.number.start_id, packet.position + (packet.frames or 0))
        self.store.apply(pending, self.receiver.starts, change)
        self.receiver.committed(pending, change)
        if self.current and self.current.session:
            self.current.down.extend(self.current.session.acks())

    def age(self) -> None:
        self.commit()
        for gap in self.store.give_up(self.running - HOLE):
            for x in (x for first, last in gap.parts for x in range(first, last + 1)):
                listed = self.listed.get((gap.start_id, x), -HOLE - 1)
                need(self.running - listed > HOLE, f"(h) {gap.start_id}:{x} is too old, listed at {listed}")
        known = self.store.starts()
        self.receiver.starts.update({one: known[one].copy() for one in self.receiver.starts})

    def restore(self) -> None:
        saved, self.running, books = self.backup
        self.recorded_ids, self.told, self.numbers, self.listed = deepcopy(books)
        self.store.restore(saved)
        self._restart()

    # -- the steps

    def processes(self) -> list[Process]:
        return [process for machine in self.machines for process in machine.processes]

    def everything(self) -> Iterator[Packet]:
        for machine in self.machines:
            for file in (machine.file, machine.shadow):
                yield from file.rows.values() if file else ()
            for process in machine.processes:
                yield from process.held.values()

    def act(self, name: str, x: int) -> None:
        getattr(self, f"do_{name}")(x)

    def _machine(self, x: int) -> Machine:
        return self.machines[x % len(self.machines)]

    def _process(self, x: int) -> Process | None:
        there = self.processes()
        return there[x % len(there)] if there else None

    def do_start(self, x: int) -> None:
        machine = self._machine(x)
        if len(machine.processes) < 2:
            machine.processes.append(Process(self, machine))

    def do_produce(self, x: int) -> None:
        for process in self._machine(x).processes:
            if not process.waits:
                ids = range(self._ids, self._ids + 1 + x % 3)
                self._ids += len(ids)
                process.produce(ids, x)

    def do_tick(self, x: int) -> None:
        for _ in range(HOLE // 2 if x == 11 else 1 + x % 3):
            self.time += 1
            self.running += 1
            for process in self.processes():
                process.flush()
        self.age()

    def do_sync(self, x: int) -> None:
        if (process := self._process(x)) and process.file:
            process.file.sync()

    def do_kill(self, x: int) -> None:
        if process := self._process(x):
            process.end()

    def do_stop(self, x: int) -> None:
        if process := self._process(x):
            process.end(clean=True)

    def do_power(self, x: int) -> None:
        for process in list(self._machine(x).processes):
            process.end(power=True)

    def do_open(self, x: int) -> None:
        if process := self._process(x):
            process.open()

    def do_connect(self, x: int) -> None:
        if process := self._process(x):
            process.connect()

    def do_live(self, x: int) -> None:
        if process := self._process(x):
            process.send(LIVE)

    def do_back(self, x: int) -> None:
        if process := self._process(x):
            process.send(BACKLOG)

    def do_up(self, x: int) -> None:
        there = [wire for wire in self.wires if not wire.dead and wire.up]
        if there:
            wire = there[x % len(there)]
            self.moved += 1
            self._on(wire, wire.up.popleft())

    def do_down(self, x: int) -> None:
        there = [wire for wire in self.wires if not wire.dead and wire.down]
        if there:
            wire = there[x % len(there)]
            self.moved += 1
            said = wire.down.popleft()
            if wire.process in self.processes():
                wire.process.take(wire, said)

    def do_cut(self, x: int) -> None:
        if (process := self._process(x)) and process.wire:
            process.wire.dead = True
            process.wire = None

    def do_flow(self, x: int) -> None:
        """Many small steps of one connection."""
        if not (process := self._process(x)):
            return
        if not process.wire or process.wire.dead:
            process.connect()
        for _ in range(1 + x):
            process.send(BACKLOG)
            process.send(LIVE)
            self.do_up(0)
            self.do_up(0)
            self.do_down(0)
        if x % 2:
            self.commit()

    def do_commit(self, _x: int) -> None:
        self.commit()

    def do_skill(self, _x: int) -> None:
        self._restart()

    def do_backup(self, _x: int) -> None:
        books = deepcopy((self.recorded_ids, self.told, self.numbers, self.listed))
        self.backup = self.store.saved(), self.running, books

    def do_restore(self, _x: int) -> None:
        self.restore()

    def do_prune(self, _x: int) -> None:
        self.store.prune()

    def do_lock(self, x: int) -> None:
        if not self._machine(x).file.user:
            self._machine(x).locked = True

    def do_unlock(self, x: int) -> None:
        self._machine(x).locked = False

    def do_unmount(self, x: int) -> None:
        machine = self._machine(x)
        if not machine.file.user:
            machine.mounted, machine.shadow = False, None

    def do_mount(self, x: int) -> None:
        self._machine(x).mounted = True

    def do_wipe(self, x: int) -> None:
        machine = self._machine(x)
        for process in list(machine.processes):
            process.end()
        machine.file = File()

    def do_tear(self, x: int) -> None:
        """The file cannot be read any more and is set aside; the process knows what it has read."""
        process = self._process(x)
        if process and process.file is process.machine.file:
            made = File(ledger=process.machine.file.ledger, user=process)
            process.machine.file = process.file = made

    def do_clone(self, x: int) -> None:
        if len(self.machines) < 2:
            self.machines.append(Machine(self._machine(x).file.copy()))
            self.copied = True

    def do_second(self, _x: int) -> None:
        if len(self.machines) < 2:
            self.machines.append(Machine())

    def do_swap(self, x: int) -> None:
        if len(self.machines) > 1:
            for process in self.processes():
                process.end(power=bool(x % 2))
            one, other = self.machines
            one.file, other.file = other.file, one.file

    def do_trim(self, x: int) -> None:
        if process := self._process(x):
            process.trim()

    # -- when all is quiet

    def _size(self) -> tuple[int, ...]:
        waiting = sum(len(wire.up) + len(wire.down) for wire in self.wires if not wire.dead)
        return self.moved, waiting, len(list(self.everything())), len(self.pending)

    def _drain(self) -> None:
        for process in self.processes():
            for _ in range(12):
                process.open()
                process.connect()
                self._exchange(process)
                if not process.holds() and not process.waits:
                    break
        for process in self.processes():
            process.connect()
            for _ in range(3):
                self.do_up(0)
                self.do_down(0)

    def _exchange(self, process: Process) -> None:
        for _ in range(40):
            before = self._size()
            process.send(BACKLOG)
            process.send(LIVE)
            for _ in range(3):
                self.do_up(0)
                self.do_down(0)
            self.commit()
            if before == self._size():
                return

    def quiesce(self) -> None:
        """Everything that can comes back: the processes as they are, then new ones; then HOLE passes."""
        for step in range(3):
            for machine in self.machines:
                machine.locked = False
                machine.mounted = machine.mounted or step > 0
                for process in list(machine.processes) if step == 1 else ():
                    process.end(clean=True)
                if not machine.processes:
                    machine.processes.append(Process(self, machine))
            self._drain()
        held = [process for process in self.processes() if process.holds() and not process.waits]
        need(not held, "(g) still held when all is quiet")
        self.time += HOLE + 1
        self.running += HOLE + 1
        self.age()
        self._drain()
        self.check()

    def check(self) -> None:
        """The books of every start, from below and from above."""
        starts, gaps, recorded = self.store.starts(), self.store.gaps(), self.store.recorded()
        for start_id in self.made:
            start = starts.get(start_id)
            if start is not None:
                need(not start.holes, f"(f) start {start_id}: {start.in_holes} frames that nobody gives up")
                mine = recorded.get(start_id, [])
                need(mine == sorted(mine), f"(e) start {start_id} is out of order: {mine}")
                if self.version > 1:
                    self._check_sums(start, gaps.get(start_id, []))
                else:
                    self._check_numbers(start)

    def _check_numbers(self, start: Any) -> None:
        told = self.numbers.get(start.start_id, IntervalSet())
        missing = [part for one in told for part in start.known.missing(*one)]
        need(not missing, f"(a) start {start.start_id}: numbers {missing} were told, and are nowhere")

    def _check_sums(self, start: Any, gaps: list[Any]) -> None:
        made, told = self.made[start.start_id], self.told.get(start.start_id, 0)
        recorded = sum(one == start.start_id for one, _ in self.recorded_ids.values())
        need(start.frames == recorded, f"(d) {start.start_id}: {start.frames} recorded, really {recorded}")
        parts = [part for one, _ in gaps for part in one]
        units = [x for first, last in parts for x in range(first, last + 1)]
        said, forgotten = sum(frames or 0 for _, frames in gaps), self.store.forgotten(start.start_id)
        lost = len(units) + forgotten
        text = (
            f"{start.start_id}: {made} made, {told} told, {recorded} recorded, {lost} in gaps ({said} said)"
        )
        need(len(units) == len(set(units)), f"(a) a frame in two gaps: {text}")
        need(told <= recorded + lost <= made and said + forgotten == lost, f"(a) {text}")
        need(lost == start.in_gaps, f"(d) {start.in_gaps} in the books, {text}")
