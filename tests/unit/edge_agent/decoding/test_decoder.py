"""One dongle's decoder: what goes into its signals lane, what it counts, which ids it tells about."""

from __future__ import annotations

import pytest

from can_stream.frames.batches import FrameBatch, FrameFlag, SignalBatch, batch_of
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.packet_head import MAX_ROWS
from can_stream.protocol.packets import decode_packet
from can_stream.signals.model import MessageModel, SignalModel
from can_stream.signals.table import SignalTable
from edge_agent.config.signal_rules import SignalRule
from edge_agent.decoding.decoder import MAX_UNKNOWN_IDS, Decoder

SECOND = 1_000_000_000
TABLE = SignalTable(
    [MessageModel("A", 1, False, False, 2, (SignalModel("A1", 0, 8), SignalModel("A2", 8, 8)))]
)
OTHER = SignalTable([MessageModel("A", 1, False, False, 2, (SignalModel("A1", 0, 16),))])


class Bench:
    """A decoder, the ids it told about, and what its lane would send."""

    def __init__(self) -> None:
        self.told: list[tuple[int, bool]] = []
        lane = LaneSender("van7-can0", "signals", "00" * 8, WindowLimits())
        lane.connect(0.0, 100)
        self.decoder = Decoder(lane, lambda *one: self.told.append(one))

    def sent(self) -> list[SignalBatch]:
        lane, batches = self.decoder.lane, []
        while (packet := lane.next_packet()) is not None:
            kind, body = packet
            assert kind in RangeKind
            decoded = decode_packet(body)
            assert isinstance(decoded.body, SignalBatch)
            batches.append(decoded.body)
            lane.acknowledged(kind, decoded.number)
        return batches


@pytest.fixture
def bench() -> Bench:
    return Bench()


def frames(*rows: tuple[float, int, bytes], flags: int = 0) -> FrameBatch:
    return batch_of((round(at * SECOND), number, flags, len(data), data) for at, number, data in rows)


def test_without_a_table_nothing_is_sent_and_nothing_is_unknown(bench: Bench) -> None:
    bench.decoder.take_frames(frames((0, 1, b"\1\2"), (0, 2, b"")), 0.0)
    assert bench.sent() == []
    assert bench.told == []


def test_an_id_is_told_once_also_by_another_table_and_error_frames_have_none(bench: Bench) -> None:
    bench.decoder.use(TABLE, [], 0.0)
    for _ in range(3):
        bench.decoder.take_frames(frames((0, 0x7FF, b""), (0, 5, b""), (0, 1, b"\1\2")), 0.0)
        bench.decoder.take_frames(frames((0, 5, b""), flags=FrameFlag.EXTENDED), 0.0)
        bench.decoder.take_frames(frames((0, 0x20, b"\0" * 8), flags=FrameFlag.ERROR), 0.0)
        bench.decoder.use(OTHER, [], 0.0)
    assert bench.told == [(5, False), (0x7FF, False), (5, True)]
    assert bench.decoder.counts.frames_unknown == 9
    assert bench.decoder.counts.frames_known == 3


def test_a_bus_of_random_ids_tells_about_some(bench: Bench) -> None:
    bench.decoder.use(TABLE, [], 0.0)
    bench.decoder.take_frames(frames(*((0, number, b"") for number in range(2, 0x800))), 0.0)
    assert len(bench.told) == len(set(bench.told)) == MAX_UNKNOWN_IDS


def test_what_cannot_be_decoded_is_counted(bench: Bench) -> None:
    bench.decoder.use(TABLE, [], 0.0)
    bench.decoder.take_frames(frames((0, 1, b"\1"), (1, 1, b"\2\3")), 0.0)
    counts = bench.decoder.counts
    assert (counts.signals_undecoded, counts.values_sent, counts.frames_known) == (1, 3, 2)
    (values,) = bench.sent()
    assert values.table_hash == TABLE.hash
    assert values.bits.tolist() == [1, 2, 3]


def test_with_new_rules_every_value_is_news_and_what_was_held_back_is_not_lost(bench: Bench) -> None:
    bench.decoder.use(TABLE, [SignalRule("A.*", minimum_period_seconds=10)], 0.0)
    bench.decoder.take_frames(frames((0, 1, b"\1\1"), (1, 1, b"\2\1")), 0.0)
    bench.decoder.use(OTHER, [], 1.0)
    bench.decoder.take_frames(frames((2, 1, b"\2\1")), 2.0)
    assert [(batch.table_hash, batch.bits.tolist()) for batch in bench.sent()] == [
        (TABLE.hash, [1, 1]),
        (TABLE.hash, [2]),
        (OTHER.hash, [0x0102]),
    ]


def test_on_a_bus_that_fell_silent_a_held_value_goes_when_its_time_has_come(bench: Bench) -> None:
    bench.decoder.use(TABLE, [SignalRule("A.A1", minimum_period_seconds=10)], 0.0)
    bench.decoder.take_frames(frames((100, 1, b"\1\0"), (103, 1, b"\2\0")), 50.0)
    assert bench.decoder.holds_back
    bench.decoder.expire(56.9)
    assert [sorted(batch.bits.tolist()) for batch in bench.sent()] == [[0, 1]]
    bench.decoder.expire(57.1)
    (late,) = bench.sent()
    assert (late.timestamp_ns.tolist(), late.bits.tolist()) == ([103 * SECOND], [2])


def test_more_values_than_a_packet_may_hold_become_several(bench: Bench) -> None:
    bench.decoder.use(TABLE, [], 0.0)
    rows = ((n / 1000, 1, bytes([n % 256, n // 256 % 256 ^ n % 256])) for n in range(MAX_ROWS))
    bench.decoder.take_frames(frames(*rows), 0.0)
    sizes = [len(batch) for batch in bench.sent()]
    assert sum(sizes) == bench.decoder.counts.values_sent > MAX_ROWS
    assert max(sizes) <= MAX_ROWS
