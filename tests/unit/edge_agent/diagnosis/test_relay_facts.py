"""Why nothing is relayed: a row for each cause, with its remedy, beside one where all is well."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from can_stream.protocol.control import ServiceStatus
from can_stream.protocol.relay_control import GroupStanding, Totals
from edge_agent.cli.look.doctor import report
from edge_agent.config.loading import load_agent_config
from edge_agent.config.sections import AgentConfig
from edge_agent.diagnosis.diagnosis import RELAY_NOTES, RULES, Fact, diagnose, facts_of
from edge_agent.diagnosis.relay_facts import relay_facts
from edge_agent.relay.account.words import WAITS
from edge_agent.relay.figures import BROKEN, RelayFigures
from edge_agent.status.accounting import Books
from edge_agent.status.document import AgentStatus, DongleStatus

FINE: Final = Books(10, 10, 0, 0, {"acknowledged": 10}, "0 lost of 10 frames")
ACTIVE: Final = GroupStanding("van7-a", "vans", "active")
WELL: Final = RelayFigures(
    "van7-a", connected=True, message="connected", stop_file="/s", source_dongle_id="van8-a", confirms="bus",
    totals=Totals(sent=3), bit_rate=500_000, group=ACTIVE,
)  # fmt: skip
FILE: Final = """
[server]
url = "https://stream.example.com"
[agent]
id = "van7"
[[dongles]]
interface = "virtual"
channel = "a"
mode = "{mode}"
{more}
"""
PERMITTED: Final = '[relay]\ntransmit = "all"\nmax_age_seconds = 2\n'


def service(name: str, code: int = 0, message: str = "all is well", **metrics: Any) -> ServiceStatus:
    kind = name.partition(".")[0]
    names = ("OK", "DEGRADED", "FAILED", "STARTING", "STOPPED", "UNKNOWN")
    return ServiceStatus(f"van7/{name}", name, name, kind, code, names[code], message, "", metrics)


def status(
    *relays: RelayFigures, bus_code: int = 0, uplink_code: int = 0, mode: str = "normal"
) -> AgentStatus:
    bus = DongleStatus("van7-a", "virtual", "a", "down" if bus_code else "", 5.0, 0.5, FINE, mode=mode)
    services = [
        service("agent"), service("uplink", uplink_code, "unreachable: look", refused=False),
        service("bus.van7-a", bus_code, "a is down: set it up"), service("relay.van7-a", bus_code, "no"),
    ]  # fmt: skip
    return AgentStatus(
        "van7", "0.1", "00" * 8, 1, "2026-01-01T00:00:00Z", 3600.0, True, "https://stream.example.com",
        services, [bus], relays=list(relays),
    )  # fmt: skip


def config(tmp_path: Path, more: str = "", mode: str = "normal") -> AgentConfig:
    path = tmp_path / "agent.toml"
    path.write_text(FILE.format(mode=mode, more=more))
    return load_agent_config(path)


def group(mode: Any = "active", reason: str = "", closed: str = "") -> GroupStanding:
    return GroupStanding("van7-a", "vans", mode, reason, closed)


def test_where_frames_are_relayed_nothing_is_said(tmp_path: Path) -> None:
    assert list(relay_facts(status(WELL), None)) == []
    assert list(relay_facts(status(WELL), config(tmp_path, PERMITTED), everything=True)) == []


CAUSES: Final = [
    ({"stopped": "`edge-agent relay stop` was said here; `edge-agent relay start` lets it go on"},
     "relay_stopped", "`edge-agent relay start`"),
    ({"stopped": "`enable_file` /run/on does not exist; frames may be sent here once it does"},
     "relay_stopped", "/run/on"),
    ({"stopped": BROKEN}, "relay_broken", "restart it"),
    ({"connected": False, "message": "refused: enrol"}, "relay_unreachable", "refused: enrol"),
    ({"source_dongle_id": None, "group": None}, "relay_no_group", "POST /api/v1/groups"),
    ({"source_dongle_id": None, "group": group("inactive")}, "relay_inactive", "groups/vans/activate"),
    ({"group": group("degraded", "offline_side")}, "relay_degraded", "`edge-agent doctor`"),
    ({"group": group("degraded", "bus_load")}, "relay_degraded", "`max_bus_load`"),
    ({"group": group("degraded", "replaying")}, "relay_catching_up", "wait"),
    ({"group": group("degraded", "side_changed: bit rate; look, then activate again")},
     "relay_degraded", "activate again"),
    ({"group": group("degraded", "loop: x; take one group out of the circle, then activate again")},
     "relay_degraded", "out of the circle"),
    ({"source_dongle_id": None, "group": group(closed="source: of van8-a; set `source = true`")},
     "relay_closed", "set `source = true`"),
    ({"confirms": "none"}, "relay_unconfirmed", "one that acknowledges"),
    ({"bit_rate": 0, "waits_for": "bit_rate"}, "relay_bit_rate", "set `bitrate`"),
    ({"asleep": True}, "relay_asleep", "`wake = true`"),
    ({"dry_run": True}, "relay_dry_run", "without `dry_run`"),
    ({"gate": "Speed of van7-a is 9, not at most 3"}, "relay_gate_closed", "is 9, not at most 3"),
    ({"waits_for": "lease"}, "relay_lease", WAITS["lease"]),
    ({"waits_for": "burst"}, "relay_burst", "another node"),
    ({"waits_for": "queue"}, "relay_queue", "plug the adapter in again"),
    ({"waits_for": "bus"}, "relay_bus", "the dongle's own line"),
    ({"waits_for": "bus_load"}, "relay_bus_load", "raise the bound"),
    ({"waits_for": "gate: SPEED is 3"}, "relay_gate", "SPEED is 3"),
    ({"waits_for": "loop: 0x123 came back"}, "relay_loop", "out of the circle"),
    ({"totals": Totals(not_sent={"not_allowed": 3, "too_old": 1})}, "relay_refused", "`allow` of [relay]"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "fault", "remedy"), CAUSES)
def test_each_cause_is_one_fact_with_its_remedy(changes: dict[str, Any], fault: str, remedy: str) -> None:
    (fact,) = relay_facts(status(replace(WELL, **changes)), None)
    assert (fact.fault, fact.about) == (fault, "van7-a")
    assert remedy in fact.text
    (finding,) = diagnose([fact])
    assert finding.is_note is (fault in RELAY_NOTES)


@pytest.mark.parametrize("word", WAITS)
def test_every_word_that_frames_wait_for_is_explained(word: str) -> None:
    (fact,) = relay_facts(status(replace(WELL, waits_for=word)), None)
    assert WAITS[word] in fact.text
    assert fact.fault in {rule.fault for rule in RULES}


@pytest.mark.parametrize(
    ("more", "mode", "fault", "remedy"),
    [
        ("", "normal", "relay_off", "`max_age_seconds`"),
        ("", "listen_only", "relay_listen_only", '`mode = "normal"`'),
        (PERMITTED, "normal", "relay_no_record", "restart it"),
    ],
)
def test_what_the_file_does_not_permit_is_said_where_it_is_asked_for(
    tmp_path: Path, more: str, mode: str, fault: str, remedy: str
) -> None:
    file = config(tmp_path, more, mode)
    (fact,) = relay_facts(status(), file, everything=True)
    assert (fact.fault, fact.about) == (fault, "van7-a")
    assert remedy in fact.text
    assert list(relay_facts(status(), file)) == ([fact] if more else [])
    if not more:
        assert list(relay_facts(status(mode=mode), None, everything=True)) == [fact]


def test_a_log_has_no_bus_and_is_a_source_for_a_bench_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    text = FILE.format(mode="listen_only", more="").replace('"virtual"', '"log"')
    (tmp_path / "a").write_text("")
    path.write_text(text.replace('channel = "a"', f'channel = "{tmp_path / "a"}"'))
    facts = list(relay_facts(status(), load_agent_config(path), everything=True))
    assert [fact.fault for fact in facts] == ["relay_log", "relay_from_log"]
    assert "`from_logs = true`" in facts[1].text


def test_what_keeps_frames_from_being_a_source_and_a_dry_run_of_the_file_are_said(tmp_path: Path) -> None:
    facts = list(relay_facts(status(WELL), config(tmp_path, f"{PERMITTED}source = false\ndry_run = true\n")))
    assert [fact.fault for fact in facts] == ["relay_no_source", "relay_dry_run"]
    assert "`source = true`" in facts[0].text


def test_without_an_agent_that_is_the_cause(tmp_path: Path) -> None:
    facts = list(relay_facts(None, config(tmp_path, PERMITTED)))
    assert [fact.fault for fact in facts] == ["relay_unreachable"]
    not_running = Fact("not_running", "agent", "no agent runs here: start it")
    findings = diagnose([*facts, not_running])
    assert [(one.fact.fault, one.because) for one in findings] == [
        ("not_running", None), ("relay_unreachable", "agent"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "change", "about"),
    [
        ({"bus_code": 2}, {"waits_for": "bus"}, "van7-a"),
        ({"uplink_code": 1}, {"connected": False, "message": "not connected yet"}, "server"),
    ],
)
def test_what_follows_from_a_bus_or_the_uplink_is_no_cause_of_its_own(
    said: dict[str, Any], change: dict[str, Any], about: str
) -> None:
    agent = status(replace(WELL, **change), **said)
    lines = list(report(diagnose([*facts_of(agent), *relay_facts(agent, None)]), agent))
    assert lines[0] == "One thing is wrong:"
    assert lines[1].startswith(f"  1. {about}: ")
    assert lines[2].startswith("     van7-a: ")
    assert lines[2].endswith(f"(because of: {about})")


def test_what_is_closed_by_this_side_is_said_once() -> None:
    stopped = replace(WELL, stopped="by hand; start", group=group(closed="stopped: by hand; start"))
    silent = replace(WELL, confirms="none", group=group(closed="unconfirmed: nothing tells"))
    assert [one.fault for one in relay_facts(status(stopped), None)] == ["relay_stopped"]
    assert [one.fault for one in relay_facts(status(silent), None)] == ["relay_unconfirmed"]
