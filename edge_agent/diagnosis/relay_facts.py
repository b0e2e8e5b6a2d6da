"""Why nothing is relayed: facts about each dongle, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator

from edge_agent.config.dongle import DongleSection
from edge_agent.config.sections import AgentConfig
from edge_agent.config.transmit import RelaySection
from edge_agent.diagnosis.diagnosis import Fact
from edge_agent.relay.account.words import group_sentence, reason_sentence, waits_sentence
from edge_agent.relay.figures import BROKEN, RelayFigures
from edge_agent.relay.side import may_be_source
from edge_agent.state import StatusCode
from edge_agent.status.document import AgentStatus

_OPEN = (StatusCode.OK, StatusCode.DEGRADED)


def relay_facts(
    status: AgentStatus | None, config: AgentConfig | None, *, everything: bool = False
) -> Iterator[Fact]:
    """By what the running agent says and what is in the file.

    `everything`: also where there is no word of a relay in the file, nor a group that has to do with it.
    """
    relays = {} if status is None else {one.dongle_id: one for one in status.relays}
    for one in relays.values():
        yield from _facts_of_sink(one, is_open=status is not None and _is_open(status, one.dongle_id))
    if config is not None and (everything or relays or config.relay != RelaySection()):
        for section in config.dongles:
            dongle_id = section.id or ""
            if dongle_id not in relays:
                yield _not_permitted(config, section, runs=status is not None)
            if not may_be_source(config, section):
                yield _no_source(dongle_id)
            elif section.interface == "log":
                yield _from_log(dongle_id)
        if config.relay.dry_run:
            yield Fact("relay_dry_run", "relay", "`dry_run = true` in [relay]: nothing is sent; leave it out")
    elif config is None and status is not None and everything:
        for dongle in status.dongles:
            if dongle.dongle_id not in relays:
                yield _never(dongle.dongle_id, dongle.interface, dongle.mode)


def _is_open(status: AgentStatus, dongle_id: str) -> bool:
    bus = status.service(f"bus.{dongle_id}")
    return bus is not None and bus.status_code in _OPEN


def _never(dongle_id: str, interface: str, mode: str) -> Fact:
    """Why the file lets no group put anything on this dongle's bus."""
    if interface == "log":
        return Fact("relay_log", dongle_id, "nothing is relayed to it: it plays a log, and has no bus")
    if mode != "normal":
        text = 'nothing is relayed to it: it only listens; set its `mode = "normal"` where a group may send'
        return Fact("relay_listen_only", dongle_id, text)
    text = (
        "nothing is relayed to it: `transmit` of [relay] is off; set it and `max_age_seconds`, and restart "
        "the agent, where a group may send there"
    )
    return Fact("relay_off", dongle_id, text)


def _not_permitted(config: AgentConfig, section: DongleSection, *, runs: bool) -> Fact:
    dongle_id = section.id or ""
    never = _never(dongle_id, section.interface, section.mode)
    if never.fault != "relay_off" or config.relay.transmit == "off":
        return never
    if not runs:
        return Fact("relay_unreachable", dongle_id, "nothing is relayed to it: its agent does not run")
    text = (
        "nothing is relayed to it although the file permits it: the agent began with another file, or has "
        "no place for its record, which its log says; restart it"
    )
    return Fact("relay_no_record", dongle_id, text)


def _no_source(dongle_id: str) -> Fact:
    text = (
        "its frames are not relayed to anybody: set `source = true` in [relay] where they may be, also what "
        "the file leaves out else"
    )
    return Fact("relay_no_source", dongle_id, text)


def _from_log(dongle_id: str) -> Fact:
    text = (
        "it plays a log: its frames are relayed only to a gateway whose [relay] says `from_logs = true`, "
        "which is for a bench, never for a vehicle"
    )
    return Fact("relay_from_log", dongle_id, text)


def _facts_of_sink(one: RelayFigures, *, is_open: bool) -> Iterator[Fact]:
    about = one.dongle_id
    if one.stopped:
        broken = one.stopped == BROKEN
        yield Fact(
            "relay_broken" if broken else "relay_stopped", about, f"nothing is relayed to it: {one.stopped}"
        )
    if not one.connected:
        yield Fact("relay_unreachable", about, f"no frames can come to it from the server: {one.message}")
    else:
        yield from _facts_of_group(one)
    if is_open and one.confirms == "none" and not one.stopped:
        yield Fact("relay_unconfirmed", about, reason_sentence("unconfirmed"))
    if one.bit_rate == 0:
        yield Fact("relay_bit_rate", about, waits_sentence("bit_rate"))
    if one.source_dongle_id is None:
        return
    if one.asleep:
        yield Fact("relay_asleep", about, reason_sentence("asleep"))
    if one.gate:
        yield Fact("relay_gate_closed", about, f"a gate refuses what comes: {one.gate}")
    if one.dry_run:
        text = "its group is active as a dry run: nothing is sent; activate it without `dry_run`"
        yield Fact("relay_dry_run", about, text)
    word = one.waits_for.partition(":")[0].strip()
    if word and not (word == "bit_rate" and one.bit_rate == 0):
        yield Fact(f"relay_{word}", about, f"frames wait for: {waits_sentence(one.waits_for)}")
    yield from _facts_of_totals(one)


def _facts_of_group(one: RelayFigures) -> Iterator[Fact]:
    group, about = one.group, one.dongle_id
    if group is None:
        if one.source_dongle_id is None:
            text = "the server tells of no group that it is in: an operator makes one (`POST /api/v1/groups`)"
            yield Fact("relay_no_group", about, text)
        return
    name = f"group {group.group_id}"
    if group.mode == "inactive":
        how = f"`POST /api/v1/groups/{group.group_id}/activate`"
        text = f"{name} is not active: an operator activates it ({how})"
        yield Fact("relay_inactive", about, text)
    if group.mode == "degraded":
        fault = "relay_catching_up" if group.reason == "replaying" else "relay_degraded"
        yield Fact(fault, about, f"{name} is degraded: {group_sentence(group.reason)}")
    # What closes it on this side is told by the fact of that.
    here = ("stopped:",) if one.stopped else ("unconfirmed:",) if one.confirms == "none" else ()
    if group.closed and not group.closed.startswith(here):
        yield Fact("relay_closed", about, f"{name} relays nothing to it: {group.closed}")


def _facts_of_totals(one: RelayFigures) -> Iterator[Fact]:
    """Where frames have come and none was ever sent."""
    totals = one.totals
    refused = {reason: frames for reason, frames in totals.not_sent.items() if frames and reason != "dry_run"}
    if refused and not (totals.sent or totals.accepted or totals.not_sent.get("dry_run")):
        most = max(refused, key=lambda reason: refused[reason])
        yield Fact("relay_refused", one.dongle_id, f"no frame was sent yet, most for {reason_sentence(most)}")
