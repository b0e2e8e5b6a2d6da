"""A start that is taken up again after a kill makes anew what its last hello had announced."""

from __future__ import annotations

from can_stream.frames.batches import batch_of
from can_stream.lanes.receiver import LaneConnection, LaneReceiver
from can_stream.lanes.sender import LaneSender
from can_stream.lanes.window import WindowLimits
from can_stream.protocol.hop import RangeKind
from can_stream.protocol.lanes_control import BacklogRange, LaneHello
from can_stream.protocol.packets import GapReason, Packet, decode_packet

START = "00000000000000aa"


class Lane:
    """One lane whose server commits at once; `recorded` is every frame, in the order of numbers."""

    def __init__(self) -> None:
        self.receiver = LaneReceiver()
        self.stored: list[Packet] = []

    def start(self) -> None:
        """The agent starts, again under the same start id."""
        self.sender = LaneSender("van7-can0", "frames", START, WindowLimits())
        self.sender.take_loss(GapReason.START, None, 0.0)

    def produce(self, packets: int) -> None:
        for _ in range(packets):
            number = self.sender.next_seq
            self.sender.take_frames(batch_of([(number * 1000, number, 0, 1, b"\1")]), 0.0)

    def connect(self, start_id: str = START) -> None:
        hello = self.sender.connect(0.0)
        opening = self.receiver.opened(hello, start_id, lambda *_: 0)
        self.stored += opening.gone
        self.receiver.opening_stored(opening)
        self.connection = LaneConnection(self.receiver, hello, start_id)
        self.sender.accepted(self.receiver.taken[start_id].prefix())

    def deliver(self, kind: RangeKind | None = None) -> None:
        """All that is sent arrives, or only what is sent in one range, and is stored and acknowledged."""
        while (sent := self.sender.next_packet()) is not None:
            packet = decode_packet(sent[1])
            if kind in (None, sent[0]) and self.connection.received(sent[0], packet):
                self.receiver.committed([packet])
                self.stored.append(packet)
        for acknowledged in self.connection.acks():
            self.sender.acknowledged(*acknowledged)

    def ids(self) -> list[int]:
        frames = [p for p in self.stored if p.frames is not None]
        return [i for p in sorted(frames, key=lambda p: p.number.seq) for i in _ids(p)]


def _ids(packet: Packet) -> list[int]:
    return list(getattr(packet.body, "arbitration_id", []))


def lane_with_live_before_backlog() -> Lane:
    """2 to 5 wait as backlog that never arrives, 6 and 7 are recorded."""
    lane = Lane()
    lane.start()
    lane.connect()
    lane.deliver()
    lane.sender.disconnect()
    lane.produce(4)
    lane.connect()
    lane.produce(2)
    lane.deliver(RangeKind.LIVE)
    return lane


def test_what_it_had_announced_is_made_again_and_recorded() -> None:
    lane = lane_with_live_before_backlog()
    lane.start()
    lane.connect()
    assert [hole.frames for hole in lane.receiver.holes] == [4]
    lane.produce(8)
    lane.deliver()
    assert lane.ids() == list(range(2, 10))
    assert lane.receiver.holes == []
    assert lane.sender.is_empty


def test_another_start_gives_it_up_as_a_gap_of_the_known_count() -> None:
    lane = lane_with_live_before_backlog()
    lane.start()
    lane.connect()
    lane.sender = LaneSender("van7-can0", "frames", "00000000000000bb", WindowLimits())
    lane.connect("00000000000000bb")
    (gap,) = [p for p in lane.stored if p.number.seq == 5]
    assert gap.frames == 4
    assert lane.receiver.holes == []


def test_holes_around_one_that_is_still_listed_become_gaps_of_their_own() -> None:
    lane = Lane()
    lane.start()
    lane.connect()
    lane.deliver()
    lane.sender.disconnect()
    lane.produce(60)
    lane.connect()
    first, middle, *others = lane.receiver.holes
    listed = BacklogRange(START, middle.first_seq, middle.last_seq, None, middle.frames, None)
    hello = LaneHello("van7-can0", "frames", 1, [listed])
    opening = lane.receiver.opened(hello, "00000000000000bb", lambda *_: 0)
    assert opening.holes == [middle]
    assert {(gap.first_seq, gap.number.seq) for gap in opening.gone} == {
        (first.first_seq, first.last_seq),
        (others[0].first_seq, others[-1].last_seq),
    }
    assert sum(gap.frames or 0 for gap in opening.gone) == 60 - middle.frames
