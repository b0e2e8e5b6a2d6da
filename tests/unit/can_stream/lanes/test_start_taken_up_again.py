"""A start that is taken up again after a kill makes anew what its last hello had announced."""

from __future__ import annotations

from can_stream.frames.batches import batch_of
from can_stream.lanes.opening import Opening, Start, opened
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
        self.starts: dict[str, Start] = {}
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
        opening = opened(self.starts, hello, start_id, 0.0, lambda *_: 0)
        self.starts |= opening.starts
        self.receiver.starts = opening.starts
        self.connection = LaneConnection(self.receiver, hello, start_id)
        self.sender.accepted(opening.starts[start_id].through)

    def deliver(self, kind: RangeKind | None = None) -> None:
        """All that is sent arrives, or only what is sent in one range, and is stored and acknowledged."""
        while (sent := self.sender.next_packet()) is not None:
            packet = decode_packet(sent[1])
            if kind in (None, sent[0]) and self.connection.received(sent[0], packet):
                change = self.receiver.change([packet], 0.0)
                self.receiver.committed([packet], change)
                self.starts |= change.starts
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


def holes(lane: Lane) -> list[int]:
    return [hole.frames for hole in lane.starts[START].holes]


def test_what_it_had_announced_is_made_again_and_recorded() -> None:
    lane = lane_with_live_before_backlog()
    lane.start()
    lane.connect()
    assert sum(holes(lane)) == 4
    lane.produce(8)
    lane.deliver()
    assert lane.ids() == list(range(2, 10))
    assert holes(lane) == []
    assert lane.sender.is_empty


def test_another_start_says_nothing_of_it_and_it_is_given_up_by_age_with_the_known_count() -> None:
    lane = lane_with_live_before_backlog()
    lane.sender = LaneSender("van7-can0", "frames", "00000000000000bb", WindowLimits())
    lane.connect("00000000000000bb")
    assert sum(holes(lane)) == 4
    (gap,) = lane.starts[START].expired(0.1)
    assert (gap.frames, gap.parts) == (4, [(0, 3)])


def resumed(starts: dict[str, Start], *, complete: bool) -> Opening:
    """A process of version 2 takes the start up again: it has made nothing yet, and lists nothing."""
    hello = LaneHello("van7-can0", "frames", 1, next_frame=0, complete=complete)
    return opened(starts, hello, START, 1.0, lambda *_: 0)


def test_in_version_2_it_speaks_only_for_what_it_has_made_anew() -> None:
    listed = [BacklogRange(START, 2, 4, 10, 30, 1.0)]
    hello = LaneHello("van7-can0", "frames", 5, listed, next_frame=40)
    starts = opened({}, hello, START, 0.0, lambda *_: 0).starts
    opening = resumed(starts, complete=True)
    assert opening.gaps == []
    start = opening.starts[START]
    assert [hole[:3] for hole in start.holes] == [(0, 39, 40)], "all of it is still waited for"
    said = LaneHello("van7-can0", "frames", 4, next_frame=25, complete=True)
    (gap,) = opened(opening.starts, said, START, 2.0, lambda *_: 0).gaps
    assert gap.parts == [(0, 24)], "what it has made anew and does not list is gone, and nothing else"
