"""Packets, envelopes and acks: what goes in comes out, and any bytes give a value or PacketError."""

from __future__ import annotations

from contextlib import suppress
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, SignalBatch, ValueKind, batch_of
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.errors import PacketError
from can_stream.protocol.hop import (
    Ack,
    Envelope,
    HopDecoder,
    HopEncoder,
    RangeKind,
    decode_ack,
    encode_ack,
)
from can_stream.protocol.packet_head import PacketHead, PacketKind, PacketNumber, as_version_1, head_of
from can_stream.protocol.packets import (
    Gap,
    GapReason,
    decode_packet,
    encode_clock,
    encode_frames,
    encode_gap,
    encode_signals,
)
from tests.helpers.strategies import frame_batches

# None: version 1, which says no position.
positions = st.none() | st.integers(0, 2**53)
numbers = st.builds(PacketNumber, st.binary(min_size=8, max_size=8).map(bytes.hex), st.integers(1, 2**53))


@given(numbers, frame_batches(), positions)
def test_frames_survive_a_packet(number: PacketNumber, batch: FrameBatch, position: int | None) -> None:
    packet = decode_packet(encode_frames(number, batch, 1, position))
    assert (packet.number, packet.position) == (number, position)
    assert isinstance(packet.body, FrameBatch)
    assert packet.body.equals(batch)


@given(numbers, frame_batches(), st.sampled_from([1000, 100_000, 999]))
def test_times_are_rounded_down_to_the_resolution(
    number: PacketNumber, batch: FrameBatch, resolution_ns: int
) -> None:
    body = decode_packet(encode_frames(number, batch, resolution_ns)).body
    assert isinstance(body, FrameBatch)
    assert body.timestamp_ns.tolist() == [
        t // resolution_ns * resolution_ns for t in batch.timestamp_ns.tolist()
    ]
    assert np.array_equal(body.data, batch.data)


@st.composite
def signal_batches(draw: st.DrawFn) -> SignalBatch:
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(-(2**60), 2**60),
                st.integers(0, 2**32 - 1),
                st.sampled_from([int(kind) for kind in ValueKind]),
                st.integers(0, 2**64 - 1),
            ),
            min_size=1,
            max_size=30,
        )
    )
    times, signals, kinds, bits = zip(*rows, strict=True)
    return SignalBatch(
        draw(st.binary(min_size=16, max_size=16)),
        np.array(times, np.int64),
        np.array(signals, np.uint32),
        np.array(kinds, np.uint8),
        np.array(bits, np.uint64),
    )


@given(numbers, frame_batches(), st.integers(0, 2**53), st.sampled_from([1, 1000, 10**9]))
def test_a_header_says_position_rows_and_span_and_version_1_says_the_rest(
    number: PacketNumber, batch: FrameBatch, position: int, resolution_ns: int
) -> None:
    data = encode_frames(number, batch, resolution_ns, position)
    times = [t // resolution_ns * resolution_ns for t in batch.timestamp_ns.tolist()]
    span_ns = (min(times), max(times))
    assert head_of(data) == PacketHead(PacketKind.FRAMES, number, position, len(batch), span_ns)
    old = as_version_1(data)
    assert old == encode_frames(number, batch, resolution_ns)
    assert as_version_1(old) == old


@given(numbers, st.integers(0, 2**53), st.none() | st.integers(0, 2**53))
def test_a_gap_says_in_its_header_how_many_frames_it_stands_for(
    number: PacketNumber, position: int, frames: int | None
) -> None:
    gap = Gap(GapReason.SPOOL, number.seq, frames)
    data = encode_gap(number, gap, position)
    assert head_of(data) == PacketHead(PacketKind.GAP, number, position, frames or 0)
    assert as_version_1(data) == encode_gap(number, gap)


@given(numbers, signal_batches(), positions)
def test_signal_values_survive_a_packet(
    number: PacketNumber, batch: SignalBatch, position: int | None
) -> None:
    body = decode_packet(encode_signals(number, batch, 1, position)).body
    assert isinstance(body, SignalBatch)
    assert body.table_hash == batch.table_hash
    for name in ("timestamp_ns", "signal", "kind", "bits"):
        assert np.array_equal(getattr(body, name), getattr(batch, name))


@given(st.data())
def test_gaps_survive_a_packet(data: st.DataObject) -> None:
    number = data.draw(numbers)
    gap = Gap(
        data.draw(st.sampled_from(GapReason)),
        data.draw(st.integers(1, number.seq)),
        data.draw(st.none() | st.integers(0, 2**53)),
        data.draw(st.none() | st.integers(-(2**61), 2**61)),
        data.draw(st.none() | st.integers(-(2**61), 2**61)),
    )
    assert decode_packet(encode_gap(number, gap, data.draw(positions))).body == gap


clock_records = st.builds(
    ClockRecord,
    st.text(st.characters(max_codepoint=127), max_size=64),
    st.integers(1 - 2**62, 2**62 - 1),
    st.booleans(),
)


@given(numbers, clock_records, positions)
def test_clock_records_survive_a_packet(
    number: PacketNumber, record: ClockRecord, position: int | None
) -> None:
    data = encode_clock(number, record, position)
    assert as_version_1(data) == encode_clock(number, record)
    packet = decode_packet(data)
    assert (packet.number, packet.body, packet.kind) == (number, record, PacketKind.CLOCK)
    assert (packet.frames, packet.first_seq) == (0, number.seq)


@given(numbers, st.text(max_size=100), st.integers())
def test_whatever_a_clock_shows_its_record_can_be_read(number: PacketNumber, name: str, offset: int) -> None:
    body = decode_packet(encode_clock(number, ClockRecord(name, offset, False))).body
    assert isinstance(body, ClockRecord)
    assert not body.synchronised


@given(numbers, clock_records, st.data())
def test_a_damaged_clock_record_is_one_or_a_packet_error(
    number: PacketNumber, record: ClockRecord, data: st.DataObject
) -> None:
    packet = bytearray(encode_clock(number, record))
    packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    with suppress(PacketError):
        decode_packet(bytes(packet[: data.draw(st.integers(0, len(packet)))]))


@given(numbers, frame_batches(), positions, st.data())
def test_a_damaged_packet_gives_frames_or_its_one_error(
    number: PacketNumber, batch: FrameBatch, position: int | None, data: st.DataObject
) -> None:
    packet = bytearray(encode_frames(number, batch, 1000, position))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(packet[: data.draw(st.integers(0, len(packet)))])
    try:
        body = decode_packet(damaged).body
    except PacketError:
        return
    if isinstance(body, FrameBatch):
        assert decode_packet(encode_frames(number, body, 1)).body is not None


@given(st.binary(max_size=200))
def test_any_bytes_are_a_packet_or_a_packet_error(data: bytes) -> None:
    for version, kind in product((1, 2), range(1, 5)):
        for candidate in (data, bytes((version, kind)) + data):
            with suppress(PacketError):
                decode_packet(candidate)
            with suppress(PacketError):
                head_of(candidate)
            with suppress(PacketError):
                as_version_1(candidate)


@given(
    st.lists(
        st.tuples(st.integers(0, 4095), st.sampled_from(RangeKind), st.binary(max_size=300)), max_size=20
    )
)
def test_envelopes_survive_one_connection(envelopes: list[tuple[int, RangeKind, bytes]]) -> None:
    encoder, decoder = HopEncoder(), HopDecoder()
    for lane_index, kind, packet in envelopes:
        envelope = Envelope(lane_index, kind, packet)
        assert decoder.decode(encoder.encode(envelope)) == envelope


@given(st.binary(max_size=300))
def test_any_bytes_are_an_envelope_or_a_packet_error(data: bytes) -> None:
    with suppress(PacketError):
        HopDecoder().decode(data)


def test_a_deflate_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = HopEncoder().encode(Envelope(0, RangeKind.LIVE, bytes(500_000_000)))
    assert len(bomb) < 1_000_000
    with pytest.raises(PacketError, match="inflates to more than"):
        HopDecoder().decode(bomb)


@given(st.integers(0, 4095), st.sampled_from(RangeKind), numbers)
def test_acks_survive(lane_index: int, kind: RangeKind, number: PacketNumber) -> None:
    ack = Ack(lane_index, kind, number)
    assert decode_ack(encode_ack(ack)) == ack


@given(st.binary(max_size=40))
def test_any_bytes_are_an_ack_or_a_packet_error(data: bytes) -> None:
    with suppress(PacketError):
        assert encode_ack(decode_ack(data)) is not None


@given(
    numbers,
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20),
    st.sampled_from([1, 1000, 10**9]),
)
def test_impossible_times_still_make_a_packet_that_can_be_read(
    number: PacketNumber, times: list[int], resolution_ns: int
) -> None:
    batch = batch_of([(time_ns, 1, 0, 1, b"\1") for time_ns in times])
    body = decode_packet(encode_frames(number, batch, resolution_ns)).body
    assert isinstance(body, FrameBatch)
    assert len(body) == len(times)
    assert decode_packet(encode_frames(number, batch, resolution_ns, 7)).frames == len(times)
    gap = Gap(GapReason.SOURCE, 1, 1, min(times), max(times))
    assert isinstance(decode_packet(encode_gap(number, gap)).body, Gap)
