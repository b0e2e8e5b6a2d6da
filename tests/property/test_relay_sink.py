"""What a gateway puts on the bus of a group's other side, through kills, torn records, cuts and swaps: the
invariants of relay_next.py that concern B hold, and each rule that is left out is found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from can_stream.frames.batches import FrameFlag
from can_stream.protocol.control import Confirms
from can_stream.protocol.relay_control import Totals
from edge_agent.relay import judging
from edge_agent.relay.driver import Driver
from edge_agent.relay.lease import Lease
from edge_agent.relay.leftover.late import LateFrames
from edge_agent.relay.record import MAX_BURST, Record
from edge_agent.relay.settling import Settling
from tests.helpers.relay_sink_world import ACTIONS, World

OFTEN: Final = [name for name, weight in ACTIONS.items() for _ in range(round(weight * 2))]


class Gateway(RuleBasedStateMachine):
    """Any order of the model's actions; in the end nothing goes wrong any more, and all is settled."""

    world: World

    @initialize(can_probe=st.booleans(), confirms=st.sampled_from(["bus", "bus", "queue"]))
    def begins(self, can_probe: bool, confirms: Confirms) -> None:
        self.world = World(can_probe=can_probe, confirms=confirms)
        self.world.act("activate")
        self.world.act("flow")

    @rule(name=st.sampled_from(OFTEN), x=st.integers(0, 23))
    def acts(self, name: str, x: int) -> None:
        self.world.act(name, x)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.quiesce()


TestGateway = Gateway.TestCase
TestGateway.settings = settings(stateful_step_count=50, deadline=None)


def act(world: World, schedule: str) -> None:
    """The actions of a schedule, each with its number or 0, and then quiet."""
    for step in schedule.split():
        name, _, x = step.partition(":")
        world.act(name, int(x or 0))
    world.quiesce()


def leaves_out(owner: Any, name: str, weaker: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: mock.patch.object(owner, name, weaker)


def taken_for_sent(
    self: Settling, burst: Any, totals: Totals, now_ns: int, close: Any = Settling.close
) -> None:
    close(self, burst, Totals(totals.sent + totals.accepted, 0, totals.in_doubt, totals.not_sent), now_ns)


WEAKER: Final = {
    "no lease": (
        leaves_out(Lease, "holds", lambda *_: True),
        "flow produce hand down deactivate tick:10 send",
        r"\(9\)",
    ),
    "no floor": (
        leaves_out(Settling, "is_doubtful", lambda *_: False),
        "flow produce hand down ping down send:1 take_one wipe",
        r"\(1\)",
    ),
    "does not begin anew where another was served": (
        leaves_out(Record, "begin_anew", lambda *_: None),
        "swap flow tick produce flow:3 swap",
        r"\(1\)",
    ),
    "own echoes are relayed": (
        leaves_out(judging, "_NO_PART", FrameFlag.ERROR),
        "produce:1",
        r"\(10\)",
    ),
    "a burst before an echo has come": (
        leaves_out(Driver, "limit", property(lambda _: MAX_BURST)),
        "produce:2",
        r"\(5\)",
    ),
    "a burst behind what has not come out": (
        leaves_out(Driver, "takes", lambda self, can_probe: self.burst is None),
        "flow produce:2 flow:3 tick:15",
        r"\(5\)",
    ),
    "no cursor": (
        leaves_out(Settling, "at", lambda *_: 0),
        "flow tear:1 produce:2 flow",
        r"\(3\)",
    ),
    "the open burst is not kept": (
        leaves_out(Record, "open", lambda *_: None),
        "flow produce tear:2 tick flow produce:1 flow",
        r"\(1\)",
    ),
    "age is not judged again": (
        leaves_out(judging, "_age_seconds", lambda *_: 0.0),
        "flow produce hand tick:20",
        r"\(5\)",
    ),
    "what a killed process has left is not known": (
        leaves_out(Record, "leave", lambda *_: None),
        "flow produce hand down ping down send:1 kill take_one",
        r"\(10\)",
    ),
    "what is given up and out of the record is not known": (
        leaves_out(LateFrames, "given_up", lambda *_: None),
        "flow produce hand down ping down send:1 tick:20 kill take_one",
        r"\(10\)",
    ),
    "taken counts as sent": (
        leaves_out(Settling, "close", taken_for_sent),
        "flow produce flow:3 power",
        r"\(3\)",
    ),
}


@pytest.mark.parametrize(("without", "schedule", "found"), WEAKER.values(), ids=WEAKER)
def test_each_rule_that_is_left_out_is_found(without: Any, schedule: str, found: str) -> None:
    confirms: Confirms = "queue" if without is WEAKER["taken counts as sent"][0] else "bus"
    act(World(confirms=confirms), f"activate {schedule}")
    with without(), pytest.raises(AssertionError, match=found):
        act(World(confirms=confirms), f"activate {schedule}")


def test_where_a_frame_finds_out_whether_the_queue_is_empty_it_is_one_and_no_second() -> None:
    schedule = "activate flow produce:2 flow:3 tick:15"
    act(World(can_probe=True), schedule)
    any_time = mock.patch.object(Driver, "takes", lambda self, can_probe: self.burst is None)
    with any_time, pytest.raises(AssertionError, match="a second frame"):
        act(World(can_probe=True), schedule)


def test_what_was_given_up_may_be_inside_for_the_next_process_too() -> None:
    act(World(), "activate flow produce:3 flow produce:8 flow:7 tick:18 produce:8 kill flow:19")


def test_what_nothing_happens_to_is_sent() -> None:
    world = World()
    world.act("activate")
    world.act("flow")
    for number in range(60):
        world.act("produce", number % 24)
        world.act("flow")
        world.act("tick")
    world.quiesce()
    totals = world.totals(list(world.settled.values()))
    assert totals.in_doubt == 0
    assert set(totals.not_sent) == {"never", "superseded"}
    assert totals.sent == len(world.bus) > 200
