"""What a sink must know after it was killed: its cursors, and the burst that may be on the bus already.

A memory of two slots that are written in turn, each with its number and a checksum: whatever a kill tears is
the slot in work, and the other one holds what was true before it.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from can_stream.protocol.identity import Identifier, StartId
from can_stream.protocol.lanes_control import MAX_STARTS, Position
from can_stream.protocol.relay_control import Cursor, NotSent, RecordId, Totals, plus

SLOT_BYTES: Final = 64 * 1024
RECORD_BYTES: Final = 2 * SLOT_BYTES
MAX_BURST: Final = 16
NO_BOOT_ID: Final = "unknown"  # two boots may be called so
_CHECKSUM_BYTES: Final = 16
_HEAD: Final = struct.Struct("<QI")
_BODY_OFFSET: Final = _CHECKSUM_BYTES + _HEAD.size


class Memory(Protocol):
    """RECORD_BYTES that outlive the process: a mapped file."""

    def __getitem__(self, part: slice, /) -> bytes | bytearray: ...

    def __setitem__(self, part: slice, content: bytes, /) -> None: ...


class OpenBurst(Struct, frozen=True):
    """What is in the driver, or about to be: `frames` of those from `first` up to `through`, which is not
    among them. `refused`: what is settled with it, by reason. `keys`: what the frames are, where their echoes
    are still to come."""

    source_dongle_id: Identifier
    start_id: StartId
    first: Position
    through: Position
    frames: int
    refused: dict[NotSent, int] = {}
    keys: list[bytes] = []


class Kept(Struct, frozen=True):
    """A cursor. `moved_ns`: when it did last. `sure_from`: what this start has from that position on was
    offered to nobody before this record began; None: no such position is known."""

    cursor: Cursor
    moved_ns: int
    sure_from: int | None = None


class _State(Struct):
    boot_id: str
    record_id: RecordId
    floor_ns: int
    kept: list[Kept]
    burst: OpenBurst | None
    looped: str = ""
    left: list[bytes] = []


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_State)


class Record:
    """The cursors of one bus, by source and start. Every change is in the memory when its method returns.

    Times are CLOCK_BOOTTIME of the boot `boot_id`; a record of another one, or none that can be read, begins
    anew as `new_id`, and what was made before now is in doubt: `floor_ns`.
    """

    def __init__(self, memory: Memory, boot_id: str, new_id: str, now_ns: int) -> None:
        self._memory = memory
        self._number, state = _newest(memory)
        same_boot = _is_of(state, boot_id)
        self.is_new = state is None or not same_boot or state.floor_ns > now_ns
        if state is None or self.is_new:
            state = _State(boot_id, new_id, now_ns, [], None)
        self._state = state
        self._kept = {_key(kept.cursor): kept for kept in state.kept}
        if self.is_new:
            self._write()

    @property
    def record_id(self) -> str:
        """32 hex digits; another one whenever what was known is lost."""
        return self._state.record_id

    @property
    def floor_ns(self) -> int:
        """What was made then or before may have been sent by somebody whom this record cannot know."""
        return self._state.floor_ns

    @property
    def burst(self) -> OpenBurst | None:
        """What may be on the bus, of which nothing is settled yet."""
        return self._state.burst

    @property
    def looped(self) -> str:
        """The last activation for which a loop was found on this bus, "" for none."""
        return self._state.looped

    @property
    def left(self) -> list[bytes]:
        """The frames that may be in the driver though they are settled: in doubt."""
        return self._state.left

    def leave(self, keys: list[bytes]) -> None:
        """All of them, from now on."""
        if keys != self._state.left:
            self._state.left = [*keys]
            self._write()

    def loop_found(self, activation: str) -> None:
        """Nothing is sent for this activation any more."""
        self._state.looped = activation
        self._write()

    def cursors(self) -> list[Cursor]:
        """All of them, the one that moved last in the end."""
        return [kept.cursor for kept in self._kept.values()]

    def cursor(self, source_dongle_id: str, start_id: str) -> Cursor:
        """That of one start; position 0 where nothing of it is settled."""
        kept = self._kept.get((source_dongle_id, start_id))
        return kept.cursor if kept else Cursor(source_dongle_id, start_id, 0)

    def sure_from(self, source_dongle_id: str, start_id: str) -> int | None:
        """From which position on this record knows all that was ever offered of a start."""
        kept = self._kept.get((source_dongle_id, start_id))
        return kept.sure_from if kept else None

    def open(self, burst: OpenBurst | None) -> None:
        """To be called before its first frame is written; also with fewer frames, or None, for those that the
        driver surely did not take."""
        self._state.burst = burst
        self._write()

    def settle(
        self,
        moved: Cursor,
        now_ns: int,
        totals: Totals,
        *,
        sure_from: int | None = None,
        closes: bool = False,
    ) -> None:
        """All below `moved.position` is settled; `totals` is what is new. A cursor never goes back.

        `sure_from`: from there on it was offered to nobody before this record began. `closes`: the open burst
        is over.
        """
        key = _key(moved)
        old = self._kept.pop(key, None) or Kept(Cursor(*key, 0), now_ns)
        if old.sure_from is not None:
            sure_from = old.sure_from
        position = max(old.cursor.position, moved.position)
        self._keep(Kept(Cursor(*key, position, _sum(old.cursor.totals, totals)), now_ns, sure_from))
        if closes:
            self._state.burst = None
        self._write()

    def adopt(self, theirs: Cursor, now_ns: int) -> bool:
        """What the server knows to be settled, where it is ahead; whether it was."""
        key = _key(theirs)
        old = self._kept.get(key)
        if old is not None and old.cursor.position >= theirs.position:
            return False
        self._kept.pop(key, None)
        self._keep(Kept(theirs, now_ns, old.sure_from if old else None))
        self._write()
        return True

    def begin_anew(self, now_ns: int) -> None:
        """Another record was served since: nothing in this one counts, what was made before is in doubt."""
        self._kept.clear()
        self._state.floor_ns = max(self._state.floor_ns, now_ns)
        self._state.burst = None
        self._write()

    def _keep(self, kept: Kept) -> None:
        self._kept[_key(kept.cursor)] = kept
        if len(self._kept) > MAX_STARTS:
            # What was sent of it was made before it moved last: from then on the floor keeps it off the bus.
            gone = self._kept.pop(next(iter(self._kept)))
            self._state.floor_ns = max(self._state.floor_ns, gone.moved_ns)

    def _write(self) -> None:
        self._state.kept = list(self._kept.values())
        self._number += 1
        body = _encoder.encode(self._state)
        if len(body) > SLOT_BYTES - _BODY_OFFSET:
            raise ValueError(f"a record of {len(body)} bytes has no room in its slot")
        content = _HEAD.pack(self._number, len(body)) + body
        begin = self._number % 2 * SLOT_BYTES
        self._memory[begin : begin + _CHECKSUM_BYTES + len(content)] = _checksum(content) + content


def _key(cursor: Cursor) -> tuple[str, str]:
    return cursor.source_dongle_id, cursor.start_id


def _sum(one: Totals, more: Totals) -> Totals:
    return plus(one, sent=more.sent, accepted=more.accepted, in_doubt=more.in_doubt, not_sent=more.not_sent)


def left_in(content: bytes, boot_id: str) -> list[bytes]:
    """The frames that may be in the driver still, by the record of whoever wrote to it last."""
    if len(content) < RECORD_BYTES:
        return []
    _, state = _newest(content)
    if state is None or not _is_of(state, boot_id):
        return []
    return [*state.left, *([] if state.burst is None else state.burst.keys)]


def _newest(memory: Memory | bytes) -> tuple[int, _State | None]:
    found = [_read(memory, slot) for slot in range(2)]
    return max(found, key=lambda one: one[0])


def _is_of(state: _State | None, boot_id: str) -> bool:
    return state is not None and state.boot_id == boot_id != NO_BOOT_ID


def _read(memory: Memory | bytes, slot: int) -> tuple[int, _State | None]:
    """The number and state of a slot; (0, None) where it is empty, torn or nothing that was ever written."""
    begin = slot * SLOT_BYTES
    content = bytes(memory[begin + _CHECKSUM_BYTES : begin + SLOT_BYTES])
    number, length = _HEAD.unpack_from(content)
    content = content[: _HEAD.size + length]
    if not length or _checksum(content) != bytes(memory[begin : begin + _CHECKSUM_BYTES]):
        return 0, None
    try:
        return number, _decoder.decode(content[_HEAD.size :])
    except msgspec.MsgspecError:
        return 0, None


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest()
