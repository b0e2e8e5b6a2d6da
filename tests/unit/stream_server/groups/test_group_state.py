"""How a group stands, from how its dongles do, its activation and its directions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from can_stream.protocol.control import encode_control_message
from can_stream.protocol.relay_control import GroupStanding, RelayPong, decode_to_sink
from stream_server.fleet.side import Facts
from stream_server.groups.activation import Activation, Asked
from stream_server.groups.group_state import (
    DirectionBooks,
    OfflineSide,
    Standing,
    mode_of,
    standing_to,
    summariser,
)
from stream_server.groups.memberships import Group

FACTS = Facts("van7", "socketcan", None, 500_000, fd=False)
NAME = "ab" * 16 + "-7"
ON = Activation(NAME, Asked(dry_run=True), 0, (FACTS, FACTS))
OPEN = ("open", "transmit: the gateway of can0 lets nothing be put on its bus")
BOTH = [{"online": True}, {"online": True}]


def state(standing: Standing, presences: Any = BOTH) -> dict[str, Any]:
    return dict(summariser(Group("bridge", "can0", "can1", 0), lambda: standing)(presences))


@pytest.mark.parametrize(
    ("online", "side"),
    [((True, True), None), ((False, True), "A"), ((True, False), "B"), ((False, False), "AB")],
)
def test_the_side_that_is_away_is_named_and_no_relaying_is_claimed(
    online: tuple[bool, bool], side: str | None
) -> None:
    said = state(Standing(None, OPEN), [{"online": one} for one in online])
    assert said["mode"] == "inactive"
    assert said["offline_side"] == side
    assert (said["activation"], said["reason"], said["dry_run"]) == (None, None, False)


def test_everything_of_an_active_group_is_said_by_direction() -> None:
    books = DirectionBooks(
        7, sent=5, accepted=1, in_doubt=2, not_sent={"too_old": 3}, latency_ms=(1.5, 9.0),
        missing_frames=4, counted={"gap": 1},
    )  # fmt: skip
    said = state(Standing(ON, OPEN, (books, DirectionBooks())))
    assert said == {
        "group_id": "bridge", "dongle_a_id": "can0", "dongle_b_id": "can1", "offline_side": None,
        "mode": "active", "reason": None, "activation": NAME, "dry_run": True,
        "directions": {"a_to_b": OPEN[0], "b_to_a": OPEN[1]},
        "buffer_pressure": False, "replaying": False,
        "made_frames_a_to_b": 23, "made_frames_b_to_a": 0,
        "missing_frames_a_to_b": 4, "missing_frames_b_to_a": 0,
        "buffered_frames_a_to_b": 7, "buffered_frames_b_to_a": 0,
        "counted_a_to_b": {"gap": 1}, "counted_b_to_a": {},
        "sent_a_to_b": 5, "sent_b_to_a": 0, "accepted_a_to_b": 1, "accepted_b_to_a": 0,
        "not_sent_a_to_b": {"too_old": 3}, "not_sent_b_to_a": {},
        "in_doubt_a_to_b": 2, "in_doubt_b_to_a": 0,
        "latency_ms_a_to_b": {"p50": 1.5, "p99": 9.0}, "latency_ms_b_to_a": None,
    }  # fmt: skip


def test_each_gateway_is_told_of_the_way_that_leads_to_it() -> None:
    stopped = msgspec.structs.replace(ON, stopped="x" * 600)
    said = state(Standing(ON, OPEN))
    assert standing_to("can1", said) == GroupStanding("can1", "bridge", "active")
    assert standing_to("can0", said) == GroupStanding("can0", "bridge", "active", closed=OPEN[1])
    long = standing_to("can1", state(Standing(stopped, OPEN)))
    pong = decode_to_sink(encode_control_message(RelayPong(1, [], [long])))
    assert pong == RelayPong(1, [], [GroupStanding("can1", "bridge", "degraded", "x" * 512)])


@pytest.mark.parametrize(
    ("activation", "away", "books", "mode", "reason"),
    [
        (ON, None, DirectionBooks(), "active", None),
        (ON, "A", DirectionBooks(), "degraded", "offline_side"),
        (ON, None, DirectionBooks(replaying=True), "degraded", "replaying"),
        (ON, None, DirectionBooks(waits_for="bus_load"), "degraded", "bus_load"),
        (msgspec.structs.replace(ON, stopped="loop: x"), "A", DirectionBooks(), "degraded", "loop: x"),
        (msgspec.structs.replace(ON, is_ended=True), None, DirectionBooks(), "inactive", None),
    ],
)
def test_the_mode_follows_what_is_worst(
    activation: Activation, away: OfflineSide | None, books: DirectionBooks, mode: str, reason: str | None
) -> None:
    assert mode_of(Standing(activation, OPEN, (books, DirectionBooks())), away) == (mode, reason)
    closed = Standing(ON, ("closed", "closed"), (DirectionBooks(replaying=True),) * 2)
    assert mode_of(closed, None) == ("active", None), "what is closed holds nothing up"
