"""From facts to findings: what is told first, what follows from what, and what is only worth knowing."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from can_stream.protocol.control import ServiceStatus
from edge_agent.cli.look.doctor import report
from edge_agent.diagnosis.diagnosis import RULES, SILENCE_SECONDS, Fact, clock_fact, diagnose, facts_of
from edge_agent.status.accounting import FRAME_HOPS, Books, Ledger
from edge_agent.status.document import AgentStatus, DongleStatus

FINE = Books(10, 10, 0, 0, {"acknowledged": 10}, "0 lost of 10 frames")
BUS = DongleStatus("van7-can0", "socketcan", "can0", "", 5.0, 0.5, FINE)


def service(name: str, code: int = 0, message: str = "all is well", **metrics: Any) -> ServiceStatus:
    kind = name.partition(".")[0]
    names = ("OK", "DEGRADED", "FAILED", "STARTING", "STOPPED", "UNKNOWN")
    return ServiceStatus(f"van7/{name}", name, name, kind, code, names[code], message, "", metrics)


WELL = AgentStatus(
    "van7", "0.1", "00" * 8, 1, "2026-01-01T00:00:00Z", 3600.0, True, "https://stream.example.com",
    [service("agent"), service("uplink", refused=False), service("bus.van7-can0")], [BUS],
)  # fmt: skip


def with_service(changed: ServiceStatus, status: AgentStatus = WELL) -> AgentStatus:
    others = [one for one in status.services if one.agent_service_id != changed.agent_service_id]
    return replace(status, services=[*others, changed])


def lines_of(status: AgentStatus) -> list[str]:
    return list(report(diagnose(facts_of(status)), status))


def facts(*faults: str) -> list[Fact]:
    return [Fact(fault, fault, f"text of {fault}") for fault in faults]


def test_an_agent_that_is_well_is_said_to_be() -> None:
    assert lines_of(WELL) == ["Nothing is wrong. OK: agent van7; 0 lost of 10 frames"]


@pytest.mark.parametrize(
    "fault",
    ["bus_off", "error_passive", "down", "no_ack", "wrong_bitrate", "overrun", "dead_driver", "unplugged"],
)
def test_every_fault_of_a_bus_is_told_in_the_agents_own_words(fault: str) -> None:
    status = with_service(service("bus.van7-can0", 2, f"can0 has {fault}: do this"))
    status = replace(status, dongles=[replace(BUS, fault=fault)])
    assert lines_of(status) == ["One thing is wrong:", f"  1. van7-can0: can0 has {fault}: do this"]


def test_a_fault_that_nobody_knows_here_is_told_all_the_same() -> None:
    status = with_service(service("relay", 1, "the other side is away: wait"))
    assert lines_of(status) == ["One thing is wrong:", "  1. relay: the other side is away: wait"]


def test_a_refused_agent_is_told_so_and_not_that_its_uplink_failed() -> None:
    status = with_service(service("uplink", 2, "it refuses the token: enrol again", refused=True))
    assert lines_of(status)[1] == "  1. server: it refuses the token: enrol again"
    assert [fact.fault for fact in facts_of(status)] == ["refused"]


@pytest.mark.parametrize(
    ("metrics", "fault"),
    [({"fault": "portal", "refused": False}, "portal"), ({"fault": "stalled"}, "stalled"),
     ({"refused": False}, "uplink_failed"), ({"fault": "", "refused": False}, "uplink_failed")],
)  # fmt: skip
def test_what_the_uplink_has_met_is_told_by_its_name(metrics: dict[str, Any], fault: str) -> None:
    status = with_service(service("uplink", 1, "so it is: do this", **metrics))
    assert [fact.fault for fact in facts_of(status)] == [fault]
    assert lines_of(status)[1] == "  1. server: so it is: do this"


@pytest.mark.parametrize(
    ("seconds_since_frame", "uptime_seconds", "expected"),
    [
        (SILENCE_SECONDS - 1, 3600.0, None),
        (45.0, 3600.0, "no frame for 45 s"),
        (None, 5.0, None),
        (None, 3600.0, "no frame since the start 1 h 0 min ago"),
    ],
)
def test_a_silent_bus_is_worth_a_note_and_no_fault(
    seconds_since_frame: float | None, uptime_seconds: float, expected: str | None
) -> None:
    bus = replace(BUS, seconds_since_frame=seconds_since_frame)
    lines = lines_of(replace(WELL, dongles=[bus], uptime_seconds=uptime_seconds))
    assert lines[0].startswith("Nothing is wrong.")
    assert len(lines) == (1 if expected is None else 2)
    if expected is not None:
        assert lines[1].startswith(f"note van7-can0: {expected}: the bus may be asleep")


def test_a_bus_of_which_nothing_passes_the_filters_is_a_fault() -> None:
    left_out = Books(10, 10, 0, 0, {"left_out": 10}, "0 lost of 10 frames")
    lines = lines_of(replace(WELL, dongles=[replace(BUS, frames=left_out)]))
    assert "`frame_filters` let none pass" in lines[1]
    assert lines_of(replace(WELL, dongles=[replace(BUS, frames=left_out, values=FINE)]))[0].startswith(
        "Nothing"
    )


def unread_books(taken: int, malformed: int) -> Books:
    return Ledger("frames", FRAME_HOPS, taken, {"acknowledged": taken, "malformed": malformed}).books()


def test_lines_that_cannot_be_read_are_a_fault_with_an_example_and_no_silence() -> None:
    bus = replace(BUS, interface="slcan", seconds_since_frame=None, frames=unread_books(0, 1_105))
    status = with_service(service("bus.van7-can0", malformed_example="`q12`"), replace(WELL, dongles=[bus]))
    assert lines_of(status) == [
        "One thing is wrong:",
        "  1. van7-can0: 1 105 could not be read and may have been frames, beside 0 that were read; "
        "the newest: `q12`: check the cable, "
        "`options.serial_baudrate` and whether the adapter's firmware is for slcan",
    ]


def test_noise_now_and_then_is_a_note_and_not_nothing() -> None:
    bus = replace(BUS, interface="slcan", frames=unread_books(1_000_000, 3))
    first, note = lines_of(replace(WELL, dongles=[bus]))
    assert first == (
        "Nothing is wrong, but not all could be read. OK: agent van7; 0 lost of 1 000 000 frames; "
        "3 could not be read and may have been frames"
    )
    assert note.startswith("note van7-can0: 3 could not be read")


def test_losses_are_a_note() -> None:
    lossy = Books(10, 12, 2, 0, {"acknowledged": 10}, "2 lost of 12 frames: 2 in the agent's queue")
    lines = lines_of(replace(WELL, dongles=[replace(BUS, frames=lossy)]))
    assert lines[1] == "note van7-can0: 2 lost of 12 frames: 2 in the agent's queue"


def test_what_follows_from_something_else_comes_behind_it() -> None:
    findings = diagnose(facts("uplink_failed", "name_not_resolved", "no_network", "unplugged"))
    assert [(one.fact.fault, one.because) for one in findings] == [
        ("unplugged", None),
        ("no_network", None),
        ("name_not_resolved", "no_network"),
        ("uplink_failed", "no_network"),
    ]


def test_a_clock_is_a_note_until_it_makes_a_certificate_look_out_of_time() -> None:
    assert [one.is_note for one in diagnose([clock_fact()])] == [True]
    findings = diagnose([clock_fact(), *facts("tls_time", "uplink_failed")])
    assert findings[0].fact.fault == "clock_and_tls"
    assert {one.because for one in findings[1:]} == {"clock"}
    assert [one.because for one in diagnose([clock_fact(), *facts("tls")])] == [None, None]


# What is concluded from two others is never given.
GIVEN: Final = [rule.fault for rule in RULES if rule.fault != "clock_and_tls"]


@given(st.lists(st.sampled_from([*GIVEN, "new", "newer"])))
def test_nothing_is_left_out_and_there_is_always_a_root_cause(faults: list[str]) -> None:
    findings = diagnose(facts(*faults))
    told = [one.fact.fault for one in findings]
    assert set(faults) <= set(told)
    assert len(told) == len(set(told))
    if any(not one.is_note for one in findings):
        assert not findings[0].is_note
        assert findings[0].because is None
    causes = [one.fact.fault for one in findings if one.because is None and not one.is_note]
    ranks = [rule.fault for rule in RULES]
    known = [ranks.index(fault) for fault in causes if fault in ranks]
    assert known == sorted(known)


def test_a_fault_is_explained_only_by_a_more_fundamental_one() -> None:
    ranks = {rule.fault: rank for rank, rule in enumerate(RULES)}
    for rule in RULES:
        for explained in rule.explains:
            assert ranks.get(explained, len(RULES)) > ranks[rule.fault], (rule.fault, explained)
