"""Envelopes of version 2: whatever packets are sent come out as they are, and what follows is sent short."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from can_stream.frames.batches import FrameBatch, batch_of
from can_stream.protocol.clock_record import ClockRecord
from can_stream.protocol.errors import PacketError
from can_stream.protocol.hop import (
    Age,
    Envelope,
    HopDecoder,
    HopEncoder,
    RangeKind,
    decode_ack,
    decode_ping,
    encode_ping,
    put_age,
    take_age,
)
from can_stream.protocol.hop_heads import last_head
from can_stream.protocol.marker import Marker
from can_stream.protocol.packet_head import MAX_PACKET_BYTES, PacketNumber
from can_stream.protocol.packets import (
    Gap,
    GapReason,
    encode_clock,
    encode_frames,
    encode_gap,
    encode_marker,
)
from can_stream.protocol.varint import Reader, put_varint, take_varint
from tests.helpers.strategies import frame_batches

LIVE = RangeKind.LIVE
START_ID = "0011223344556677"
NOON_NS = 1_700_000_000_000_000_000
SYNC_TAIL = b"\x00\x00\xff\xff"
MICROSECONDS = st.integers(0, 2**62 - 1) | st.integers(0, 300)
PINGS = st.integers(0, 2**53) | st.integers(0, 3)
ages = st.builds(Age, st.none() | MICROSECONDS, PINGS, st.just(2**62) | MICROSECONDS)
whole_or_cut = st.sampled_from(["as it is"] * 20 + ["cut", "damaged", "lengthened"])


def frames(at_ns: int, rows: int = 1) -> FrameBatch:
    return batch_of([(at_ns + row * 1_000_000, 1, 0, 1, bytes((row % 256,))) for row in range(rows)])


def packets_in_a_row(count: int, start_id: str = START_ID, every_ns: int = 50_000_000) -> Iterator[bytes]:
    for number in range(1, count + 1):
        batch = frames(NOON_NS + number * every_ns, 3)
        yield encode_frames(PacketNumber(start_id, number), batch, 1000, 3 * (number - 1))


def inflated(messages: list[bytes]) -> list[bytes]:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    return [stream.decompress(message + SYNC_TAIL) for message in messages]


def deflated(envelopes: list[bytes]) -> list[bytes]:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return [(stream.compress(one) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4] for one in envelopes]


def _varint(value: int) -> bytes:
    out = bytearray()
    put_varint(out, value)
    return bytes(out)


@st.composite
def starts_of_lanes(draw: st.DrawFn) -> list[bytes]:
    """What one start puts into a lane: any kinds and versions, some of it damaged."""
    start_id = draw(st.sampled_from([START_ID, "ff" * 8]))
    seq, position = draw(st.sampled_from([1, 120, 2**53 - 3])), draw(st.sampled_from([0, 16380, 2**53 - 9]))
    resolution_ns = draw(st.sampled_from([1, 1000, 10**9]))
    at_ns, packets = NOON_NS, []
    for _ in range(draw(st.integers(2, 8))):
        number = PacketNumber(start_id, seq)
        kind = draw(st.sampled_from(["frames"] * 5 + ["gap", "clock", "marker"]))
        said = draw(st.sampled_from([position] * 6 + [None]))
        rows = 0
        if kind == "frames":
            at_ns += draw(st.sampled_from([0, 1, 50_000_000, 10**9, 10**16, -1]))
            regular = st.builds(frames, st.just(at_ns), st.sampled_from([1, 2, 127, 128, 300]))
            batch = draw(st.one_of(regular, regular, regular, frame_batches()))
            rows = len(batch)
            packet = encode_frames(number, batch, resolution_ns, said)
        elif kind == "gap":
            rows = draw(st.integers(0, 300))
            packet = encode_gap(number, Gap(GapReason.SOURCE, max(1, seq - 1), rows), said)
        elif kind == "marker":
            packet = encode_marker(number, Marker(draw(st.sampled_from(["", "ab" * 16 + "-3"]))), said)
        else:
            packet = encode_clock(number, ClockRecord("boot", 5, True), said)
        packets.append(_perhaps_hurt(draw, packet))
        seq, position = seq + draw(st.sampled_from([1] * 9 + [2])), position + rows
    return packets


def _perhaps_hurt(draw: st.DrawFn, packet: bytes) -> bytes:
    how = draw(whole_or_cut)
    place = draw(st.integers(0, min(40, len(packet) - 1)))
    if how == "cut":
        return packet[:place]
    if how == "damaged":
        return packet[:place] + draw(st.binary(min_size=1, max_size=2)) + packet[place + 1 :]
    return packet + bytes(draw(st.integers(0, 3))) if how == "lengthened" else packet


@st.composite
def envelopes(draw: st.DrawFn, aged: bool = False) -> list[Envelope]:
    """Of several lanes and ranges, mixed; some with their age where the connection carries ages."""
    lanes = draw(
        st.lists(
            st.tuples(
                st.sampled_from([0, 1, 127, 128, 4095]),
                st.sampled_from(RangeKind),
                starts_of_lanes() | starts_of_lanes() | st.lists(st.binary(max_size=40), max_size=3),
            ),
            min_size=1,
            max_size=4,
        )
    )
    mixed: list[Envelope] = []
    for lane_index, kind, packets in lanes:
        at = 0
        for packet in packets:
            at = draw(st.integers(at, len(mixed)))
            age = draw(st.none() | ages) if aged else None
            mixed.insert(at, Envelope(lane_index, kind, packet, age))
            at += 1
    return mixed


@given(envelopes())
def test_any_packets_arrive_as_they_were_sent(sent: list[Envelope]) -> None:
    encoder, decoder = HopEncoder(2), HopDecoder(2)
    for envelope in sent:
        assert decoder.decode(encoder.encode(envelope)) == envelope


@given(envelopes(aged=True))
def test_ages_arrive_with_their_packets_and_change_no_other_byte(sent: list[Envelope]) -> None:
    encoder, decoder, plain = HopEncoder(2), HopDecoder(2), HopEncoder(2)
    messages, without = [], []
    for envelope in sent:
        messages.append(encoder.encode(envelope))
        without.append(plain.encode(Envelope(envelope.lane_index, envelope.range_kind, envelope.packet)))
        assert decoder.decode(messages[-1]) == envelope
    for envelope, data, less in zip(sent, inflated(messages), inflated(without), strict=True):
        said = bytearray()
        if envelope.age is not None:
            put_age(said, envelope.age)
        begin = 1 + len(_varint(envelope.lane_index))
        assert data[0] == less[0] | (4 if said else 0)
        assert data[1:] == less[1:begin] + said + less[begin:]


@given(ages, st.binary(max_size=4))
def test_an_age_ends_where_the_packet_begins(age: Age, behind: bytes) -> None:
    out = bytearray()
    put_age(out, age)
    reader = Reader(bytes(out) + behind)
    assert take_age(reader) == age
    assert reader.data[reader.offset :] == behind
    assert len(out) <= 26


def test_the_longest_packet_has_room_for_the_longest_age() -> None:
    age = Age(2**62 - 1, 2**53, 2**62)
    longest = Envelope(4095, RangeKind.BACKLOG, bytes(MAX_PACKET_BYTES), age)
    assert HopDecoder(2).decode(HopEncoder(2).encode(longest)) == longest


@given(st.integers(1, 2**53))
def test_a_ping_is_a_ping_and_no_ack(number: int) -> None:
    message = encode_ping(number)
    assert decode_ping(message) == number
    with pytest.raises(PacketError, match="range kind 2 is unknown"):
        decode_ack(message)


@given(st.binary(max_size=30))
def test_any_bytes_among_the_acks_are_a_ping_something_else_or_a_packet_error(data: bytes) -> None:
    assert decode_ping(b"\0" + data) is None
    assert decode_ping(b"\1" + data) is None
    with suppress(PacketError):
        number = decode_ping(b"\2" + data)
        assert number is not None
        assert 1 <= number <= 2**53


@pytest.mark.parametrize("data", ["02", "0200", "02 81808080808080 20", "02 0100"])
def test_a_ping_without_its_number_is_refused(data: str) -> None:
    with pytest.raises(PacketError):
        decode_ping(bytes.fromhex(data))


@given(envelopes(aged=True))
def test_envelopes_of_version_1_are_the_plain_packets(sent: list[Envelope]) -> None:
    encoder = HopEncoder()
    for envelope, data in zip(sent, inflated([encoder.encode(one) for one in sent]), strict=True):
        head = bytearray((envelope.range_kind,))
        put_varint(head, envelope.lane_index)
        assert data == head + envelope.packet


def test_the_example_of_the_protocols_page() -> None:
    first = encode_frames(PacketNumber(START_ID, 7), frames(NOON_NS, 2), 1000, 40)
    second = encode_frames(PacketNumber(START_ID, 8), frames(NOON_NS + 50_000_000), 1000, 42)
    assert second.startswith(bytes.fromhex("0201001122334455667708 2a 01 e807 a08df88183898506 00000001"))
    encoder = HopEncoder(2)
    messages = inflated([encoder.encode(Envelope(0, LIVE, packet)) for packet in (first, second)])
    assert messages[0] == b"\0\0" + first
    assert messages[1] == bytes.fromhex("0200 01 a09a18") + second[second.index(bytes(3) + b"\1") :]


def test_each_lane_and_range_goes_its_own_way_and_only_its_first_packet_is_whole() -> None:
    rows = [list(packets_in_a_row(5, byte * 8)) for byte in ("aa", "bb", "cc")]
    places = [(0, LIVE), (0, RangeKind.BACKLOG), (1, LIVE)]
    encoder, messages = HopEncoder(2), []
    for packets in zip(*rows, strict=True):
        for (lane_index, kind), packet in zip(places, packets, strict=True):
            messages.append(encoder.encode(Envelope(lane_index, kind, packet)))
    shorts = [bool(data[0] & 2) for data in inflated(messages)]
    assert shorts == [False] * 3 + [True] * 12


@pytest.mark.parametrize("between", ["gap", "clock", "version 1", "start", "hole", "earlier", "resolution"])
def test_what_does_not_follow_travels_whole(between: str) -> None:
    one = next(packets_in_a_row(1))
    number = PacketNumber("ff" * 8 if between == "start" else START_ID, 3 if between == "hole" else 2)
    at_ns = NOON_NS - 10**9 if between == "earlier" else NOON_NS + 10**9
    if between == "gap":
        other = encode_gap(number, Gap(GapReason.SOURCE, 2, 5), 3)
    elif between == "clock":
        other = encode_clock(number, ClockRecord("boot", 5, True), 3)
    else:
        resolution_ns = 10**6 if between == "resolution" else 1000
        other = encode_frames(number, frames(at_ns), resolution_ns, None if between == "version 1" else 3)
    encoder = HopEncoder(2)
    messages = [encoder.encode(Envelope(0, LIVE, packet)) for packet in (one, other)]
    assert inflated(messages)[1] == b"\0\0" + other


@given(st.binary(max_size=60), st.integers(0, 8), st.booleans())
def test_any_bytes_are_an_envelope_or_a_packet_error(data: bytes, first: int, framed: bool) -> None:
    decoder = HopDecoder(2)
    begun = deflated([b"\0\0" + next(packets_in_a_row(1)), bytes((first, 0)) + data])
    decoder.decode(begun[0])
    with suppress(PacketError):
        decoder.decode(begun[1] if framed else data)


@given(st.integers(1, 6), st.integers(0, 4095), st.sampled_from(RangeKind))
def test_a_short_packet_is_refused_where_the_whole_one_was_not_seen(
    count: int, lane_index: int, kind: RangeKind
) -> None:
    encoder = HopEncoder(2)
    packets = list(packets_in_a_row(count + 1))
    short = inflated([encoder.encode(Envelope(lane_index, kind, packet)) for packet in packets])[1:]
    sender = HopEncoder(2)
    places = [(lane_index ^ 1, kind), (lane_index, RangeKind(1 - kind))]
    elsewhere = inflated([sender.encode(Envelope(*place, packets[0])) for place in places])
    for data in short:
        *begun, message = deflated([*elsewhere, data])
        decoder = HopDecoder(2)
        for one in begun:
            decoder.decode(one)
        with pytest.raises(PacketError, match="follows none that is remembered"):
            decoder.decode(message)


@pytest.mark.parametrize(
    ("version", "data", "why"),
    [
        (1, "02 00 01", "range kind 2 is unknown"),
        (1, "04 00 01", "range kind 4 is unknown"),
        (2, "08 00 01", "range kind 8 is unknown"),
        (2, "04 00 01 00", "1 byte expected"),
        (2, "04 00 01 81808080808080 20 00", "ping is"),
        (2, "04 00 82808080808080808001 00 00", "age is"),
        (2, "06 00 01 00 00 01", "1 byte expected"),
        (2, "00 80 20 01", "lane index is 4096"),
        (2, "02 00", "1 byte expected"),
        (2, "02 00 81 40 00", "out of range"),  # 8193 rows
        (
            2,
            "02 00 01 ff ff ff ff ff ff ff ff ff 01",
            "out of range",
        ),  # a time of more bytes than the last one
        (2, "02 00 01 80 80 80 80 80 80 80 80 80 80 80", "more than 10 bytes"),
        (2, "", "1 byte expected"),
    ],
)
def test_what_no_sender_may_send_is_refused_with_its_reason(version: int, data: str, why: str) -> None:
    decoder = HopDecoder(version)
    messages = deflated([b"\0\0" + next(packets_in_a_row(1)), bytes.fromhex(data)])
    decoder.decode(messages[0])
    with pytest.raises(PacketError, match=why):
        decoder.decode(messages[1])


@given(frame_batches(), st.binary(max_size=40), st.sampled_from([1, 1000]))
def test_whatever_begins_as_expected_is_restored_byte_for_byte(
    batch: FrameBatch, rest: bytes, resolution_ns: int
) -> None:
    first = encode_frames(PacketNumber(START_ID, 1), batch, resolution_ns, 5)
    sender, receiver = last_head(first), last_head(first)
    assert sender is not None
    assert receiver is not None
    due = bytes.fromhex("0201" + START_ID + "02") + bytes((5 + len(batch),))
    out = bytearray(b"??")
    if sender.put_next(out, due + rest):
        assert receiver.take_next(bytes(out), 2) == due + rest
    else:
        assert out == b"??"


@given(st.integers(0, 2**64 - 1), st.binary(max_size=5), st.binary(max_size=5))
def test_a_varint_is_found_between_other_bytes(value: int, before: bytes, behind: bytes) -> None:
    data = bytearray(before)
    put_varint(data, value)
    assert take_varint(bytes(data) + behind, len(before)) == (value, len(data))
