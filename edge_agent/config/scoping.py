"""What [transmit] and [relay] say of one dongle: their entries may be for one, and "all" for some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from msgspec.structs import replace

from edge_agent.config.dongle import DongleSection
from edge_agent.config.gates import GateEntry
from edge_agent.config.transmit import (
    AllowEntry,
    Permission,
    RelaySection,
    ReplayRule,
    TransmitSection,
    is_relayed_to,
)

_Entry = TypeVar("_Entry", AllowEntry, ReplayRule)


def transmit_for(section: TransmitSection, dongle_id: str) -> TransmitSection:
    """The section as it holds for one dongle: off where it permits nothing there."""
    allow = _of(section.allow, dongle_id)
    return replace(section, mode=_permission(section.mode, section.dongles, allow, dongle_id), allow=allow)


def relay_for(section: RelaySection, dongle_id: str) -> RelaySection:
    """The section as it holds for one dongle: off where it permits nothing there; gates say which bus."""
    allow = _of(section.allow, dongle_id)
    return replace(
        section,
        transmit=_permission(section.transmit, section.dongles, allow, dongle_id),
        allow=allow,
        policy=_of(section.policy, dongle_id),
        gate=[replace(gate, dongle=gate.dongle or dongle_id) for gate in section.gate],
    )


def relayed_to(relay: RelaySection, dongles: Iterable[DongleSection]) -> list[DongleSection]:
    """Those with an id on whose bus a group may put frames."""
    return [
        one
        for one in dongles
        if one.id is not None and is_relayed_to(relay_for(relay, one.id), one.interface, one.mode)
    ]


def scope_problems(
    transmit: TransmitSection, relay: RelaySection, dongles: Sequence[DongleSection]
) -> Iterable[tuple[str, str]]:
    """Entries for dongles that there are not, or that could never hold. The dongles have their ids."""
    ids = [str(one.id) for one in dongles]
    for name, section in (("transmit", transmit), ("relay", relay)):
        for index, dongle_id in enumerate(section.dongles or ()):
            yield from _unknown(f"{name}.dongles[{index}]", dongle_id, ids)
        yield from _entry_problems(f"{name}.allow", section.allow, section.dongles, ids)
    yield from _entry_problems("relay.policy", relay.policy, None, ids)
    yield from _gate_problems(relay, dongles, ids)


def named_signals(
    relay: RelaySection, dongles: Iterable[DongleSection]
) -> Iterable[tuple[str, str, GateEntry]]:
    """(place in the file, dongle whose databases must know it, gate), once for each dongle."""
    targets = [str(one.id) for one in relayed_to(relay, dongles)]
    for index, gate in enumerate(relay.gate):
        for dongle_id in [gate.dongle] if gate.dongle is not None else targets:
            yield f"relay.gate[{index}].signal", dongle_id, gate


def _gate_problems(
    relay: RelaySection, dongles: Sequence[DongleSection], ids: Sequence[str]
) -> Iterable[tuple[str, str]]:
    sections: Mapping[str, DongleSection] = {str(one.id): one for one in dongles}
    for index, gate in enumerate(relay.gate):
        if gate.dongle is not None:
            yield from _unknown(f"relay.gate[{index}].dongle", gate.dongle, ids)
    for place, dongle_id, gate in named_signals(relay, dongles):
        section = sections.get(dongle_id)
        if section is None:
            continue
        if section.interface == "log":
            yield place.replace("signal", "dongle"), f"is {dongle_id}, a log, which says nothing of a bus now"
        elif not section.databases:
            yield (
                place,
                f"cannot be read from {dongle_id}, which has no `databases`: add the one with "
                f"{gate.signal}, or name another bus with `dongle`",
            )


def _entry_problems(
    place: str, entries: Sequence[_Entry], chosen: Sequence[str] | None, ids: Sequence[str]
) -> Iterable[tuple[str, str]]:
    for index, entry in enumerate(entries):
        if entry.dongle is None:
            continue
        yield from _unknown(f"{place}[{index}].dongle", entry.dongle, ids)
        if chosen is not None and entry.dongle in ids and entry.dongle not in chosen:
            yield f"{place}[{index}].dongle", f"is {entry.dongle}, which `dongles` leaves out: add it there"


def _unknown(place: str, dongle_id: str, ids: Sequence[str]) -> Iterable[tuple[str, str]]:
    if dongle_id not in ids:
        yield place, f"is {dongle_id}, and there is no such dongle: name one of {', '.join(ids)}"


def _of(entries: Iterable[_Entry], dongle_id: str) -> list[_Entry]:
    return [entry for entry in entries if entry.dongle in (None, dongle_id)]


def _permission(
    permission: Permission, chosen: Sequence[str] | None, allow: Sequence[AllowEntry], dongle_id: str
) -> Permission:
    if chosen is not None and dongle_id not in chosen:
        return "off"
    return "off" if permission == "allowlist" and not allow else permission
