"""Why there is no data: from facts to what to do, root causes first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from can_stream.protocol.control import ServiceStatus
from edge_agent.state import StatusCode
from edge_agent.status.accounting import grouped, unread
from edge_agent.status.document import AgentStatus, DongleStatus
from edge_agent.status.text import duration

SILENCE_SECONDS: Final = 30.0
_MAX_NOISE_SHARE: Final = 0.001
_ILL: Final = (1, 2)  # DEGRADED, FAILED


class Fact(Struct, frozen=True):
    """Something that is so: `fault` names it, `about` is whom it concerns, `text` says the remedy too."""

    fault: str
    about: str
    text: str


class Rule(Struct, frozen=True):
    """What is known of a fault: it `explains` others, which then need no remedy of their own.

    A `note` is no fault: it is worth knowing, and may be all in order.
    """

    fault: str
    explains: frozenset[str] = frozenset()
    note: bool = False


class Finding(Struct, frozen=True):
    """A fact and what it is: a root cause, a consequence of another one (`because` of whom), or a note."""

    fact: Fact
    is_note: bool = False
    because: str | None = None


_RELAY_CUT: Final = frozenset({"relay_unreachable", "relay_lease"})
_UPLINK: Final = frozenset({"uplink_failed", "disconnected"}) | _RELAY_CUT
_RELAY_BUS: Final = frozenset({"relay_bus", "relay_queue", "relay_burst"})
_IN_THE_WAY: Final = (
    "name_not_resolved", "proxy", "unreachable", "mute", "tls", "tls_time", "portal", "firewall", "gateway",
    "redirected", "no_upgrade", "not_a_stream_server", "server_error", "rate_limited", "wrong_agent",
    "duplicate", "dongle_conflict", "refused",
)  # fmt: skip
_SERVER: Final = _UPLINK | {*_IN_THE_WAY}
_DONGLES: Final = frozenset({"unplugged", "down", "no_permission", "silent", "busy", "no_driver"})
# What may be meant so: whoever asks why nothing is relayed learns it all the same.
RELAY_NOTES: Final = (
    "relay_off", "relay_listen_only", "relay_log", "relay_no_source", "relay_from_log", "relay_stopped",
    "relay_no_group", "relay_inactive", "relay_catching_up", "relay_dry_run", "relay_asleep", "relay_burst",
    "relay_helper", "relay_refused", "relay_gate_closed",
)  # fmt: skip

# The most fundamental first. A fault without a rule comes behind those that have one.
RULES: Final = (
    Rule("config_error", _SERVER | _DONGLES | {"not_running", "token_missing"}),
    Rule("token_missing", frozenset({"not_running", "refused"}) | _UPLINK),
    Rule("bad_ca_file", frozenset({"not_running"}) | _UPLINK),
    Rule("disk_full", frozenset({"not_running", "spool"})),
    Rule("not_running", _RELAY_CUT),
    Rule("agent_hangs", _UPLINK | _DONGLES),
    Rule("no_socketcan"),
    Rule("no_driver"),
    Rule("unknown_interface"),
    Rule("unplugged", _RELAY_BUS),
    Rule("no_permission"),
    Rule("busy"),
    Rule("dead_driver"),
    *(Rule(fault, _RELAY_BUS) for fault in ("down", "bus_off", "wrong_bitrate", "error_passive", "no_ack")),
    Rule("unreadable"),
    Rule("overrun"),
    Rule("all_left_out"),
    Rule("clock_and_tls", frozenset({"tls_time", "clock_unsynchronised"}) | _UPLINK),
    Rule("no_network", _SERVER),
    *(Rule(fault, _UPLINK) for fault in _IN_THE_WAY),
    *(Rule(fault, _RELAY_CUT) for fault in ("uplink_failed", "disconnected")),
    Rule("stalled"),
    Rule("clear_text"),
    Rule("decoder"),
    Rule("relay_broken"),
    Rule("relay_no_record"),
    Rule("relay_unreachable"),
    Rule("relay_degraded"),
    Rule("relay_closed"),
    Rule("relay_unconfirmed"),
    Rule("relay_bit_rate"),
    Rule("relay_lease"),
    Rule("relay_bus"),
    Rule("relay_queue"),
    Rule("relay_bus_load"),
    Rule("relay_gate"),
    Rule("relay_loop"),
    Rule("silent", note=True),
    Rule("lost", note=True),
    Rule("noise", note=True),
    Rule("clock_unsynchronised", note=True),
    Rule("clear_text_allowed", note=True),
    Rule("not_looked_at", note=True),
    *(Rule(fault, note=True) for fault in RELAY_NOTES),
)
_BY_FAULT: Final = {rule.fault: rule for rule in RULES}
_RANKS: Final = {rule.fault: rank for rank, rule in enumerate(RULES)}
_NOTES_BEGIN: Final = next(rank for rank, rule in enumerate(RULES) if rule.note)


def diagnose(facts: Iterable[Fact]) -> list[Finding]:
    """Root causes, then what follows from them, then notes; each by rank."""
    known = sorted(_joined(list(facts)), key=lambda fact: _RANKS.get(fact.fault, _NOTES_BEGIN))
    findings = [Finding(fact, _rule(fact).note, _cause(fact, known)) for fact in known]
    return sorted(findings, key=lambda one: (one.is_note, one.because is not None))


def facts_of(status: AgentStatus) -> Iterator[Fact]:
    """What a running agent's own view says."""
    dongles = {f"bus.{dongle.dongle_id}": dongle for dongle in status.dongles}
    # Of these `relay_facts` says more.
    relays = {f"relay.{one.dongle_id}" for one in status.relays}
    for service in status.services:
        if service.status_code not in _ILL or service.agent_service_id in relays:
            continue
        dongle = dongles.get(service.agent_service_id)
        if dongle is not None:
            yield Fact(dongle.fault or "failed", dongle.dongle_id, service.message)
        elif service.agent_service_id == "uplink":
            yield Fact(uplink_fault(service), "server", service.message)
        else:
            yield Fact(service.service_type, service.agent_service_id, service.message)
    for name, dongle in dongles.items():
        bus = status.service(name)
        if bus is not None and bus.status_code == StatusCode.OK:
            yield from _facts_of_bus(dongle, status.uptime_seconds)
            yield from _unread_facts(dongle, status.metric(name, "malformed_example"))
    if not status.clock_synchronised:
        yield clock_fact()


def uplink_fault(service: ServiceStatus) -> str:
    """The word for what its uplink has met; `uplink_failed` where a running agent of before has none."""
    refused = service.metrics.get("refused") is True
    return service.metrics.get("fault") or ("refused" if refused else "uplink_failed")


def clock_fact() -> Fact:
    """The clock is not kept right."""
    remedy = "let systemd-timesyncd, chrony or ntpd keep it, and give it a network"
    return Fact("clock_unsynchronised", "clock", f"this machine's clock is not synchronised: {remedy}")


def silence_fact(dongle_id: str, how_long: str) -> Fact:
    """A bus that is open and says nothing."""
    text = (
        f"no frame {how_long}: the bus may be asleep, which is in order; else switch the ignition on, check "
        "CAN_H, CAN_L and ground, and that `bitrate` is the bus's own"
    )
    return Fact("silent", dongle_id, text)


def _facts_of_bus(dongle: DongleStatus, uptime_seconds: float) -> Iterator[Fact]:
    silent_seconds = uptime_seconds if dongle.seconds_since_frame is None else dongle.seconds_since_frame
    if silent_seconds >= SILENCE_SECONDS and (dongle.frames.taken or not dongle.frames.hops.get("malformed")):
        how_long = f"for {duration(silent_seconds)}"
        if dongle.seconds_since_frame is None:
            how_long = f"since the start {duration(silent_seconds)} ago"
        yield silence_fact(dongle.dongle_id, how_long)
    frames = dongle.frames
    if frames.taken and frames.hops.get("left_out") == frames.taken and dongle.values is None:
        yield Fact(
            "all_left_out", dongle.dongle_id,
            f"{grouped(frames.taken)} frames were read and `frames` or `frame_filters` let none pass: "
            "correct them in the configuration, or leave them out",
        )  # fmt: skip
    if frames.lost or frames.uncounted_losses:
        yield Fact("lost", dongle.dongle_id, frames.sentence)


def _unread_facts(dongle: DongleStatus, example: object) -> Iterator[Fact]:
    """What could not be read: a fault where it is more than noise may hit now and then."""
    frames, count = dongle.frames, dongle.frames.hops.get("malformed", 0)
    if not count:
        return
    is_noise = count < _MAX_NOISE_SHARE * frames.taken or dongle.interface == "log"
    what = f"{unread(count)}, beside {grouped(frames.taken)} that were read"
    shown = f"; the newest: {example}" if isinstance(example, str) else ""
    remedy = {
        "slcan": "check the cable, `options.serial_baudrate` and whether the adapter's firmware is for slcan",
        "log": "look at the file",
    }.get(dongle.interface, "check the adapter, its driver and the cable")
    yield Fact("noise" if is_noise else "unreadable", dongle.dongle_id, f"{what}{shown}: {remedy}")


def _joined(facts: list[Fact]) -> Iterator[Fact]:
    """A clock that is wrong is no fault by itself, but makes certificates look expired, or not yet valid."""
    yield from dict.fromkeys(facts)
    faults = {fact.fault for fact in facts}
    if {"tls_time", "clock_unsynchronised"} <= faults:
        text = "the server's certificate is judged by a clock that may be wrong: set it, see `date`"
        yield Fact("clock_and_tls", "clock", text)


def _rule(fact: Fact) -> Rule:
    return _BY_FAULT.get(fact.fault, Rule(fact.fault))


def _cause(fact: Fact, known: list[Fact]) -> str | None:
    """Whom the most fundamental fact is about that explains this one."""
    for other in known:
        if other is not fact and fact.fault in _rule(other).explains:
            return other.about
    return None
