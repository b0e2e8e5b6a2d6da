"""What the kernel writes for CAN frames is read back; whatever else stands there is a batch or a count."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, FrameFlag, batch_of, concatenate
from can_stream.protocol.clock_record import WALL_PERIOD_SECONDS
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import decode_packet, encode_frames
from edge_agent.bus.socketcan import kernel_filters
from edge_agent.bus.socketcan_frames import OverflowCounter, Received, ReceiveSlots
from edge_agent.config.dongle import DongleSection
from edge_agent.config.frame_filters import FrameFilter, keep_matching
from edge_agent.host.kernel_frames import NATIVE, KernelLayouts, kernel_layouts
from tests.helpers.strategies import frame_batches

NOW_NS = 1_766_417_462_000_000_123
SLOTS = 7
EFF, RTR, ERR = 1 << 31, 1 << 30, 1 << 29
CONFIRM = 0x800


@dataclass(frozen=True)
class Abi:
    """The sizes of a kind of machine, and its control messages as the kernel writes them."""

    layouts: KernelLayouts
    message_bytes: int
    vector_bytes: int
    stamp: struct.Struct
    overflow: struct.Struct
    overflow_bytes: int


# cmsg(3): the length counts the header and the data, the next one begins at a multiple of `long`.
BITS_64 = Abi(
    kernel_layouts(np.uint64, np.int64), 64, 16, struct.Struct("=Qiiqq"), struct.Struct("=QiiI4x"), 20
)
BITS_32 = Abi(kernel_layouts(np.uint32, np.int32), 32, 8, struct.Struct("=Iiiii"), struct.Struct("=IiiI"), 16)
abis = pytest.mark.parametrize("abi", [BITS_64, BITS_32], ids=["64 bit", "32 bit"])


@abis
def test_layouts_are_those_of_the_c_structures(abi: Abi) -> None:
    assert abi.layouts.message.itemsize == abi.message_bytes
    assert abi.layouts.vector.itemsize == abi.vector_bytes


def test_this_machine_is_one_of_them() -> None:
    assert NATIVE in (BITS_64.layouts, BITS_32.layouts)


class Kernel:
    """Writes frames into slots as recvmmsg does, and nothing else of them."""

    def __init__(self, abi: Abi) -> None:
        self._abi = abi
        self.slots = ReceiveSlots(SLOTS, abi.layouts)

    def write(self, slot: int, frame: bytes, stamp_ns: int, dropped: int = 0, flags: int = 0) -> None:
        seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
        stamp = self._abi.stamp
        control = stamp.pack(stamp.size, 1, 35, seconds, nanoseconds)
        if dropped:
            control += self._abi.overflow.pack(self._abi.overflow_bytes, 1, 40, dropped)
        for memory, written in ((self.slots.frames, frame), (self.slots.control, control)):
            memory[slot : slot + 1].view(np.uint8)[: len(written)] = np.frombuffer(written, np.uint8)
        message = self.slots.messages[slot : slot + 1]
        header = message["header"]
        assert header["control_length"] >= len(control), "the room was not given back"
        header["control_length"], header["flags"], message["size"] = len(control), flags, len(frame)


def kernel_frame(batch: FrameBatch, row: int, garbage: bytes) -> bytes:
    """struct can_frame or canfd_frame of a row, with garbage where there is no data."""
    flags, length = int(batch.flags[row]), int(batch.length[row])
    word = int(batch.arbitration_id[row])
    for flag, bit in ((FrameFlag.EXTENDED, EFF), (FrameFlag.REMOTE, RTR), (FrameFlag.ERROR, ERR)):
        word |= bit if flags & flag else 0
    data = batch.data[row, : batch.data_length()[row]].tobytes()
    if flags & FrameFlag.FD:
        bits = (1 if flags & FrameFlag.BRS else 0) | (2 if flags & FrameFlag.ESI else 0) | 4
        return struct.pack("=IBBBB", word, length, bits, 0, 0) + (data + garbage)[:64]
    raw_dlc = length if length > 8 else garbage[0] % 9
    return struct.pack("=IBBBB", word, min(length, 8), 0, 0, raw_dlc) + (data + garbage)[:8]


def with_stamps_of(batch: FrameBatch, abi: Abi) -> FrameBatch:
    """What a kernel can say: an error frame's extended bit means nothing, 32 bits of seconds end in 2038."""
    is_error = (batch.flags & FrameFlag.ERROR) != 0
    stamps = batch.timestamp_ns % (2**31 * 10**9) if abi is BITS_32 else batch.timestamp_ns
    flags = np.where(is_error, batch.flags & ~np.uint8(FrameFlag.EXTENDED), batch.flags)
    return FrameBatch(stamps, batch.arbitration_id, flags, batch.length, batch.data)


def overflow_of(received: Received) -> list[int]:
    return [0] * len(received.batch) if received.overflow is None else received.overflow.tolist()


@abis
@given(
    batch=frame_batches(), garbage=st.binary(min_size=64, max_size=64) | st.just(bytes(64)), data=st.data()
)
def test_frames_are_read_as_the_kernel_wrote_them(
    abi: Abi, batch: FrameBatch, garbage: bytes, data: st.DataObject
) -> None:
    expected, kernel, got, begin = with_stamps_of(batch, abi), Kernel(abi), list[Received](), 0
    news = data.draw(st.integers(1, 3))
    while begin < len(expected):
        count = min(data.draw(st.integers(1, SLOTS)), len(expected) - begin)
        for slot in range(count):
            row = begin + slot
            confirm = CONFIRM if expected.flags[row] & FrameFlag.TX else 0
            frame = kernel_frame(expected, row, garbage)
            kernel.write(slot, frame, int(expected.timestamp_ns[row]), row % news, confirm)
        got.append(kernel.slots.take_received(count, NOW_NS))
        begin += count
    assert concatenate([one.batch for one in got]).equals(expected)
    overflow = [total for one in got for total in overflow_of(one)]
    assert overflow == [row % news for row in range(len(expected))]
    assert sum(one.malformed for one in got) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 8, 15, 16, 71, 72]), st.integers(0, 255)), min_size=1, max_size=SLOTS
    )
)
def test_impossible_frames_are_counted_and_the_others_kept(shapes: list[tuple[int, int]]) -> None:
    kernel = Kernel(BITS_64)
    for slot, (size, length) in enumerate(shapes):
        kernel.write(slot, struct.pack("=IBBBB64x", slot, length, 0, 0, 0)[:size], NOW_NS)
    received = kernel.slots.take_received(len(shapes), NOW_NS)
    fd_lengths = {*range(9), 12, 16, 20, 24, 32, 48, 64}
    possible = [
        slot for slot, (size, length) in enumerate(shapes)
        if (size == 16 and length <= 15) or (size == 72 and length in fd_lengths)
    ]  # fmt: skip
    assert received.batch.arbitration_id.tolist() == possible
    assert received.malformed == len(shapes) - len(possible)


@given(st.integers(0, 2**32 - 1), st.integers(1, SLOTS), st.booleans())
def test_any_memory_is_a_batch_that_a_lane_carries(seed: int, count: int, sizes_are_right: bool) -> None:
    slots, dice = ReceiveSlots(SLOTS), np.random.default_rng(seed)
    for memory in (slots.frames, slots.control):
        memory.view(np.uint8)[:] = dice.integers(0, 256, memory.nbytes, np.uint8)
    slots.frames["length"] %= 72
    slots.messages["header"]["flags"] = dice.choice([0, 0x20, CONFIRM], SLOTS)
    slots.messages["header"]["control_length"] = dice.integers(0, 200, SLOTS)
    sizes = [16, 72] if sizes_are_right else [0, 15, 16, 72, 2**32 - 1]
    slots.messages["size"] = dice.choice(sizes, SLOTS)
    received = slots.take_received(count, NOW_NS)
    assert len(received.batch) + received.malformed == count
    assert len(overflow_of(received)) == len(received.batch)
    # Times without bounds are the lane's business, which cuts them.
    stamps = np.full(len(received.batch), NOW_NS)
    batch = FrameBatch(
        stamps, *(getattr(received.batch, name) for name in ("arbitration_id", "flags", "length", "data"))
    )
    if len(batch):
        packet = decode_packet(encode_frames(PacketNumber("00" * 8, 1), batch, 1))
        assert isinstance(packet.body, FrameBatch)
        assert packet.body.equals(batch)


@abis
@given(st.integers(0, 2**32 - 1), st.integers(1, SLOTS))
def test_the_quick_way_reads_what_the_slow_one_reads(abi: Abi, seed: int, count: int) -> None:
    slots, dice = ReceiveSlots(SLOTS, abi.layouts), np.random.default_rng(seed)
    for memory in (slots.frames, slots.control):
        memory.view(np.uint8)[:] = dice.integers(0, 256, memory.nbytes, np.uint8)
    header = slots.messages["header"]
    slots.frames["length"] %= 16
    slots.frames["raw_dlc"] = 0
    slots.messages["size"], header["control_length"] = 16, abi.stamp.size
    header["flags"] = dice.choice([0, 4], SLOTS)  # MSG_DONTROUTE: sent by another program of this machine
    quick, slow = slots._take_usual(count), slots._take_any(count, NOW_NS)
    assert quick.batch.equals(slow.batch)
    assert (overflow_of(quick), quick.malformed) == (overflow_of(slow), slow.malformed)
    assert slots._are_usual(count)
    odd: list[tuple[np.ndarray[Any, Any], int]] = [
        (slots.messages["size"], 72), (header["flags"], CONFIRM), (header["flags"], 0x20),
        (header["control_length"], abi.stamp.size + abi.overflow.size), (header["control_length"], 0),
        (slots.frames["raw_dlc"], 9), (slots.frames["length"], 16),
    ]  # fmt: skip
    for column, value in odd:
        row, usual = dice.integers(count), column.copy()
        column[row] = value
        assert not slots._are_usual(count)
        column[:] = usual


@pytest.mark.parametrize("flags", [0, CONFIRM], ids=["usual", "own echo"])
def test_a_kernel_clock_beyond_what_a_packet_holds_goes_on_like_the_agents(flags: int) -> None:
    kernel = Kernel(BITS_64)
    kernel.write(0, struct.pack("=IB3x8s", 0x123, 8, bytes(8)), 2**63 - 10**9, flags=flags)
    received = kernel.slots.take_received(1, NOW_NS)
    assert received.batch.timestamp_ns.tolist() == [(2**63 - 10**9) % (WALL_PERIOD_SECONDS * 10**9)]


def test_a_frame_without_a_timestamp_has_the_time_of_its_reading() -> None:
    slots = ReceiveSlots(1)
    slots.messages["size"], slots.messages["header"]["control_length"] = 16, 0
    assert slots.take_received(1, NOW_NS).batch.timestamp_ns.tolist() == [NOW_NS]


@given(st.lists(st.tuples(st.sampled_from([0, 0, 1, 7, 2**31, 2**32 - 1]), st.booleans()), min_size=1))
def test_losses_add_up_and_stand_before_the_frame_that_told_them(steps: list[tuple[int, bool]]) -> None:
    counter, waiting, got = OverflowCounter(), list[int](), list[tuple[int, int]]()
    expected, total, told = list[tuple[int, int]](), 0, 0
    for row, (lost, ends_batch) in enumerate(steps):
        total += lost
        if total % 2**32 and total != told:  # a total of 0 is not written, as if nothing had been lost
            expected.append((row, (total - told) % 2**32))
            told = total
        waiting.append(total % 2**32)
        if ends_batch:
            first = row + 1 - len(waiting)
            losses = counter.losses(np.array(waiting, np.uint32))
            got += [(first + at, frames) for at, frames in losses]
            waiting = []
    first = len(steps) - len(waiting)
    got += [(first + at, frames) for at, frames in counter.losses(np.array(waiting, np.uint32))]
    assert got == [(row, frames) for row, frames in expected if frames]


filters = st.builds(
    FrameFilter, st.integers(0, 0x1FFFFFFF) | st.integers(0, 0x7FF), st.none() | st.integers(0, 0x1FFFFFFF),
    st.none() | st.just(True),
)  # fmt: skip


@given(st.lists(filters, min_size=1, max_size=4), frame_batches())
def test_the_kernel_passes_what_the_filters_of_the_lane_pass(
    wanted: list[FrameFilter], batch: FrameBatch
) -> None:
    packed = kernel_filters(DongleSection("can0", frame_filters=wanted))
    terms = list(struct.iter_unpack("=II", packed))
    near = [(0, one.terms()[0], FrameFlag.EXTENDED if one.terms()[2] else 0, 0, b"") for one in wanted]
    batch = concatenate([batch, batch_of(near)])
    word = batch.arbitration_id.astype(np.uint64)
    for flag, bit in ((FrameFlag.EXTENDED, EFF), (FrameFlag.REMOTE, RTR), (FrameFlag.ERROR, ERR)):
        word |= np.where((batch.flags & flag) != 0, np.uint64(bit), np.uint64(0))
    # linux/can.h: a filter passes when received & mask == id & mask; error frames have one of their own.
    passes = (batch.flags & FrameFlag.ERROR) != 0
    for can_id, mask in terms:
        passes |= (word & mask) == (can_id & mask)
    assert keep_matching(batch, wanted).equals(batch[passes])
    assert len(keep_matching(batch, wanted)) >= len(wanted)
