"""The actions of the relay's model on a direction with real lanes: the invariants that are the server's.

(1) never twice, (2) order, (3) each frame in one count, (5) never too old, (6) released only when settled or
kept, (7) nothing waits for what is too old, (8) nothing that was made for no activation, (10) no own echo.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from can_stream.lanes.opening import Opening
from can_stream.protocol.lanes_control import LaneHello
from can_stream.protocol.packet_head import PacketNumber
from can_stream.protocol.packets import Packet
from can_stream.protocol.relay_control import Direction, SinkHello
from stream_server.relay import storing
from stream_server.relay.direction import RelayDirection
from stream_server.relay.handing import HandOut
from stream_server.relay.hearing import Missing
from stream_server.relay.intake import Intake
from stream_server.relay.line import Line, Tile, out
from stream_server.relay.lines import Lines
from stream_server.relay.stretches import Stretch
from stream_server.relay.terms import Terms
from stream_server.relay.values import Served, StoredRow
from tests.helpers.relay_direction_world import ViolationError, World


class RelayMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, once nothing goes wrong any more all is counted, once."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(is_warm=st.booleans())
    def begins(self, is_warm: bool) -> None:
        if is_warm:
            self.world.activate()
            self.world.flow(6, commits=True)

    @rule(frames=st.integers(1, 4), own=st.sampled_from([0, 0, 0, 1, 2, 5, 15]))
    def produce(self, frames: int, own: int) -> None:
        self.world.produce(frames, own)

    @rule(beats=st.integers(1, 6), commits=st.booleans())
    def flow(self, beats: int, commits: bool) -> None:
        self.world.flow(beats, commits=commits)

    @rule(own_alone=st.booleans())
    def connect(self, own_alone: bool) -> None:
        self.world.connect(own_alone=own_alone)

    @rule(ticks=st.integers(1, 3))
    def tick(self, ticks: int) -> None:
        self.world.tick(ticks)

    @rule(step=st.sampled_from(["send", "up", "down", "commit", "hand", "step", "report"]))
    def step(self, step: str) -> None:
        getattr(self.world, step)()

    @rule(change=st.sampled_from(["activate", "deactivate", "sink_connects", "prune", "trim"]))
    def change(self, change: str) -> None:
        getattr(self.world, change)()

    @rule(
        fault=st.sampled_from(
            [
                "cut",
                "source_crashes",
                "server_crashes",
                "sink_cut",
                "sink_killed",
                "sink_begins_anew",
                "sinks_swapped",
            ]
        )
    )
    def fault(self, fault: str) -> None:
        getattr(self.world, fault)()

    def teardown(self) -> None:
        self.world.quiesce()


TestRelayDirection = RelayMachine.TestCase
TestRelayDirection.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# -- each rule, left out, is found


def _any_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    """activation = server: what comes while one is on is relayed, whatever it was made for."""
    arrived = Intake.arrived

    def all_come(
        self: Intake, packet: Packet, body: bytes, born_ns: int | None, *, live: bool, came_ns: int | None
    ) -> bool:
        if self._terms.activation:
            self._lines.line(packet.number.start_id)
        return arrived(self, packet, body, born_ns, live=live, came_ns=came_ns)

    monkeypatch.setattr(Intake, "arrived", all_come)
    monkeypatch.setattr(Terms, "is_on", lambda self, activation: bool(self.activation))


def _ends_at_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """deactivate = at_server: the server counts what is left, and nobody settles it."""
    ended = World.deactivate

    def deactivate(self: World) -> None:
        for line in self.direction._lines:
            left = self.sink.frames_of[line.start_id][line.settled : line.end]
            mine = self.reasons.setdefault(line.start_id, {})
            mine.update({number: "deactivated" for number, is_other in left if is_other})
            line.settle(line.end)
        ended(self)

    monkeypatch.setattr(World, "deactivate", deactivate)


def _always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """fresh = assumed: what a process finds in storage was never offered, as far as it knows."""
    restored = storing._put_row

    def put_row(line: Line, stored: StoredRow, born_ns: int | None) -> None:
        restored(line, stored, born_ns)
        for row in line.rows.values():
            row.fresh = True

    monkeypatch.setattr(storing, "_put_row", put_row)


def _unlisted_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """unlisted = jump: what no hello lists is no business of the relay's."""
    know = Intake._know

    def only_listed(self: Intake, line: Line, part: Missing, *, is_late: bool) -> None:
        if part.born_ns is not None:
            know(self, line, part, is_late=is_late)
        elif part.through > line.end:
            line.put(out(max(part.first, line.end), part.through))

    def reach(self: Intake, line: Line, position: int) -> None:
        if position > line.end:
            line.put(out(line.end, position))

    monkeypatch.setattr(Intake, "_know", only_listed)
    monkeypatch.setattr(Intake, "_reach", reach)


def _unlisted_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """unlisted = wait: what no hello lists has an age as well, namely none."""
    refused, waits = Terms.is_refused, HandOut._waits

    def is_refused(self: Terms, tile: Tile, now_ns: int) -> bool:
        is_unlisted = isinstance(tile, Stretch) and tile.reason == "hole" and tile.born_ns is None
        return not is_unlisted and refused(self, tile, now_ns)

    def _waits(self: HandOut, tile: Tile, now_ns: int) -> bool:
        is_unlisted = isinstance(tile, Stretch) and tile.reason == "hole" and tile.born_ns is None
        return is_unlisted or waits(self, tile, now_ns)

    monkeypatch.setattr(Terms, "is_refused", is_refused)
    monkeypatch.setattr(HandOut, "_waits", _waits)
    monkeypatch.setattr(HandOut, "aged", lambda self, now_ns: None)


def _pruned_with_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """retention = with_row: a packet that goes takes its row with it."""

    def pruned(self: Intake, numbers: list[PacketNumber]) -> None:
        for line in self._lines:
            for row in list(line.rows.values()):
                if PacketNumber(line.start_id, row.seq) in numbers:
                    line._take_out(row)
                    line.put(out(row.first, row.through))

    monkeypatch.setattr(Intake, "pruned", pruned)


def _any_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """record_id = untold: whoever comes is believed, and not told that another was served."""
    greeted = RelayDirection.greeted

    def same(self: RelayDirection, hello: SinkHello, now_ns: int) -> Direction:
        self.serving = Served(hello.record_id)
        return greeted(self, hello, now_ns)

    monkeypatch.setattr(RelayDirection, "greeted", same)


def _hole_as_young_as_its_hello(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hole ages from the last hello that listed it, which says no age of what was made in another boot."""
    heard = Intake.heard

    def as_new(self: Intake, hello: LaneHello, start_id: str, opening: Opening, said_ns: int) -> None:
        heard(self, hello, start_id, opening, said_ns)
        for line in self._lines:
            for one in line.stretches:
                if one.reason == "hole":
                    one.born_ns = said_ns

    monkeypatch.setattr(Intake, "heard", as_new)


def _sends(world: World) -> None:
    world.activate()
    world.flow(6, commits=True)
    world.tick(1)
    world.produce(2, 0)
    world.send()
    world.up()
    world.hand()


def _made_before(world: World) -> None:
    world.connect()
    world.flow(2, commits=True)
    world.tick(1)
    world.produce(2, 0)
    world.activate()


def _ends_while_sent(world: World) -> None:
    _sends(world)
    world.step()
    world.step()
    world.deactivate()


def _server_crashes(world: World) -> None:
    _sends(world)
    world.commit()
    world.step()
    world.step()
    world.step()
    world.server_crashes()
    world.sink_begins_anew()


def _lists_too_little(world: World) -> None:
    world.activate()
    world.flow(6, commits=True)
    world.cut()
    for _ in range(3):
        world.produce(2, 0)
    world.connect(room=1)
    for _ in range(4):
        world.up()
        world.down()
    world.produce(2, 0)
    for _ in range(5):
        world.send()
        world.up()
    for _ in range(8):
        world.hand()
        world.step()
        world.report()
    world.tick(3)
    world.tick(3)
    world.tick(3)
    world.hand()


def _prunes(world: World) -> None:
    world.activate()
    world.flow(6, commits=True)
    world.sink_cut()
    world.produce(2, 0)
    for _ in range(3):
        world.send()
        world.up()
        world.commit()
        world.down()
    for _ in range(4):
        world.prune()


def _is_swapped(world: World) -> None:
    _sends(world)
    world.step()
    world.step()
    world.sinks_swapped()


def _waits_for_long(world: World) -> None:
    world.activate()
    world.flow(6, commits=True)
    world.cut()
    world.produce(2, 0)
    world.tick(3)
    world.connect()
    world.up()
    world.tick(3)
    world.connect()
    world.up()
    world.down()
    world.tick(1)
    world.hand()


def _unnamed_is_older(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a hello does not name counts as older than all that it lists."""
    monkeypatch.setattr(Lines, "offered_ns", lambda self, named: 0)


def _is_killed_before_its_spool_was_read(world: World) -> None:
    world.activate()
    world.tick(1)
    world.flow(1, commits=False)
    world.produce(1, 0)
    world.source_crashes()
    world.connect(own_alone=True)
    world.produce(1, 0)
    world.flow(4, commits=True)
    world.source_crashes()


CASES: Final[dict[str, tuple[Callable[[Any], None], Callable[[World], None], str]]] = {
    "activation=server": (_any_activation, _made_before, r"\(8\)"),
    "deactivate=at_server": (_ends_at_server, _ends_while_sent, r"\(3\) frame 0 is deactivated and sent"),
    "fresh=assumed": (_always_fresh, _server_crashes, r"\(1\)"),
    "unlisted=jump": (_unlisted_is_passed, _lists_too_little, r"\(3\) frame \d+ in no count"),
    "unlisted=wait": (_unlisted_is_waited_for, _lists_too_little, r"\(7\)"),
    "retention=with_row": (_pruned_with_its_row, _prunes, r"\(3\) frame 0 in no count"),
    "record_id=untold": (_any_record, _is_swapped, r"\(1\)"),
    "unnamed=older": (_unnamed_is_older, _is_killed_before_its_spool_was_read, r"\(2\)"),
    "hole=as young as its hello": (_hole_as_young_as_its_hello, _waits_for_long, r"\(7\)"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_left_out_is_found(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_out, schedule, what = CASES[case]
    honest = World()
    schedule(honest)
    honest.quiesce()

    leave_out(monkeypatch)
    world = World()

    def run() -> None:
        schedule(world)
        world.quiesce()

    with pytest.raises(ViolationError, match=what):
        run()
