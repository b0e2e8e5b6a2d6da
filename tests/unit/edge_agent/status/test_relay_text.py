"""The sentences about what groups put on a bus."""

from __future__ import annotations

from msgspec.structs import replace

from can_stream.protocol.relay_control import Totals
from edge_agent.relay.account.counted import IdCounts
from edge_agent.relay.account.words import REASONS, WAITS
from edge_agent.relay.figures import RelayFigures
from edge_agent.status.relay_text import relay_lines, relay_sentence, totals_sentence

CONNECTED = RelayFigures(
    "van7-can0", connected=True, message="connected", stop_file="/s/relay-stopped-van7-can0"
)
ACTIVE = replace(CONNECTED, source_dongle_id="van8-can0", confirms="bus")


def test_what_stands_in_the_way_is_said_first() -> None:
    lost = replace(CONNECTED, connected=False, message="no route")
    assert relay_sentence(lost) == "no frames can come: no route"
    assert relay_sentence(replace(lost, stopped="`edge-agent relay stop` was said here")) == (
        "stopped: `edge-agent relay stop` was said here"
    )
    assert relay_sentence(CONNECTED) == "connected; no group is active here"
    assert relay_sentence(ACTIVE) == "from van8-can0"
    assert relay_sentence(replace(ACTIVE, dry_run=True)) == "from van8-can0, a dry run: nothing is sent"
    waiting = relay_sentence(replace(ACTIVE, waits_for="lease"))
    assert waiting == f"from van8-can0; frames wait for: lease ({WAITS['lease']})"
    gate = "ABS.Speed of van7-can0 is 12, and must be at most 0"
    assert relay_sentence(replace(ACTIVE, gate=gate)) == f"from van8-can0, and refused by a gate: {gate}"
    idle = f"connected; no group is active here; a gate would refuse: {gate}"
    assert relay_sentence(replace(CONNECTED, gate=gate)) == idle
    assert relay_sentence(replace(ACTIVE, waits_for="loop: x")) == "stopped for this activation: loop: x"


def test_every_frame_is_in_one_count() -> None:
    totals = Totals(sent=1234, accepted=5, in_doubt=1, not_sent={"too_old": 2, "not_allowed": 3})
    assert totals_sentence(totals) == (
        "1 234 sent, 5 accepted, 1 in doubt, 5 not sent (3 not_allowed, 2 too_old)"
    )
    assert totals_sentence(Totals()) == "0 sent"


def test_a_dongle_as_a_person_reads_it() -> None:
    one = replace(ACTIVE, totals=Totals(sent=7), latency_ms=(3.14, 7.5))
    assert list(relay_lines(one)) == [
        "van7-can0: from van8-can0",
        "  7 sent",
        "  what counts as sent: on the bus, by its echo",
        "  age at the echo: 3.1 ms (p50), 7.5 ms (p99)",
    ]


def test_why_frames_were_not_sent_is_said_with_the_remedy_and_by_id() -> None:
    """In a dry run this is what there is to see."""
    rows = [
        IdCounts("0x123", {"not_allowed": 2, "dry_run": 1200}),
        IdCounts(None, {"dry_run": 1}),
    ]
    one = replace(
        ACTIVE, dry_run=True, totals=Totals(not_sent={"dry_run": 1201, "not_allowed": 2}), by_id=rows
    )
    assert list(relay_lines(one))[3:] == [
        f"  dry_run: {REASONS['dry_run']}",
        f"  not_allowed: {REASONS['not_allowed']}",
        "  by id, since the agent's start:",
        "    0x123  1 200 dry_run, 2 not_allowed",
        "    other ids  1 dry_run",
    ]
