"""[transmit] and [relay] of the agent's configuration: what may be put on a bus of this gateway."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from can_stream.frames.batches import (
    CLASSIC_DATA_BYTES,
    EXTENDED_ID_MASK,
    FD_LENGTHS,
    STANDARD_ID_MASK,
    id_text,
)
from can_stream.protocol.control import MAX_DONGLES
from can_stream.protocol.identity import Identifier
from edge_agent.config.frame_filters import FrameFilter
from edge_agent.config.gates import MAX_GATES, GateEntry

MAX_ENTRIES: Final = 256
_DIGITS: Final = frozenset("0123456789ABCDEFabcdef*")
_SHOWN_IDS: Final = 8

Permission = Literal["off", "allowlist", "all"]
Replay = Literal["all", "latest", "never"]


class AllowEntry(FrameFilter, frozen=True):
    """Frames that may be transmitted: those of these ids, with this `data` where that is given.

    `data` is a byte per pair of digits, `*` in the place of a digit that may be any: "02 01 ** 0*". It fits
    frames of exactly so many bytes, and no remote frame. `dongle`: to whose bus, None: to every one.
    """

    data: Annotated[str, Meta(max_length=256)] | None = None
    dongle: Identifier | None = None

    def problems(self) -> Iterable[tuple[str, str]]:
        """What is unclear: a permission must not mean more than it seems to."""
        bad = list(super().problems())
        yield from bad
        if not bad:
            yield from self._id_problems()
        if self.data is not None:
            yield from self._data_problems(self.data.split())

    def data_masks(self) -> tuple[bytes, bytes] | None:
        """(wanted, mask) of each byte, of an entry without problems; None where any data will do."""
        if self.data is None:
            return None
        pairs = self.data.split()
        wanted = bytes.fromhex("".join(pairs).replace("*", "0"))
        return wanted, bytes(
            sum(15 << shift for shift, d in zip((4, 0), p, strict=True) if d != "*") for p in pairs
        )

    def _id_problems(self) -> Iterable[tuple[str, str]]:
        wanted, mask, _ = self.terms()
        if wanted & ~mask:
            yield "mask", f"leaves out bits that `id` sets; with this mask `id` is 0x{wanted & mask:X}"
        is_long = self.mask is not None and mask > STANDARD_ID_MASK
        if is_long and wanted <= STANDARD_ID_MASK and self.extended is None:
            yield "extended", "is needed: `id` has 11 bits and `mask` more"

    def _data_problems(self, pairs: Sequence[str]) -> Iterable[tuple[str, str]]:
        if any(len(pair) != 2 or not _DIGITS.issuperset(pair) for pair in pairs):
            yield "data", 'expected bytes like "02 01 ** 0*": two digits or `*` each, spaces between them'
        elif len(pairs) not in FD_LENGTHS:
            lengths = ", ".join(map(str, FD_LENGTHS[CLASSIC_DATA_BYTES + 1 :]))
            yield (
                "data",
                f"is {len(pairs)} bytes, a frame has 0 to {CLASSIC_DATA_BYTES}, with CAN FD {lengths}",
            )


class ReplayRule(msgspec.Struct, frozen=True):
    """How relayed frames of one id are treated when they have waited for `dongle`, None: for any."""

    id: int | str
    replay: Replay
    extended: bool | None = None
    dongle: Identifier | None = None

    def problems(self) -> Iterable[tuple[str, str]]:
        """What is no arbitration id."""
        return self._filter.problems()

    def key(self) -> tuple[int, bool]:
        """(arbitration id, is extended), of a rule without problems."""
        wanted, _, extended = self._filter.terms()
        return wanted, extended

    @property
    def _filter(self) -> FrameFilter:
        return FrameFilter(self.id, None, self.extended)


Allow = Annotated[list[AllowEntry], Meta(max_length=MAX_ENTRIES)]
Chosen = Annotated[list[Identifier], Meta(min_length=1, max_length=MAX_DONGLES)]


class TransmitSection(msgspec.Struct, frozen=True):
    """[transmit]: what commands may put on a bus of this gateway; `dongles`: on whose, None: on each."""

    mode: Permission = "off"
    allow: Allow = []
    max_frames_per_second: Annotated[float, Meta(gt=0, le=20_000)] = 100.0
    dongles: Chosen | None = None

    def problems(self) -> Iterable[tuple[str, str]]:
        """A list that contradicts the mode."""
        return _allow_problems("mode", self.mode, self.allow)


class RelaySection(msgspec.Struct, frozen=True):
    """[relay]: what a group's other side may put on a bus of this gateway, and whether it gets its frames.

    `source` None: where all of a dongle's frames are sent anyway. `dongles`: on whose bus, None: on each.
    Where `gate` has entries, all of them must hold.
    """

    transmit: Permission = "off"
    allow: Allow = []
    max_age_seconds: Annotated[float, Meta(gt=0, le=3600)] | None = None
    max_bus_load: Annotated[float, Meta(gt=0, le=1)] = 0.3
    max_live_bus_load: Annotated[float, Meta(gt=0, le=1)] = 0.9
    source: bool | None = None
    lease_seconds: Annotated[float, Meta(ge=0.5, le=10)] = 2.0
    dry_run: bool = False
    from_logs: bool = False
    wake: bool = False
    asleep_after_seconds: Annotated[float, Meta(gt=0, le=3600)] = 5.0
    enable_file: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    policy: Annotated[list[ReplayRule], Meta(max_length=MAX_ENTRIES)] = []
    gate: Annotated[list[GateEntry], Meta(max_length=MAX_GATES)] = []
    dongles: Chosen | None = None

    def problems(self) -> Iterable[tuple[str, str]]:
        """A list that contradicts `transmit`, no age, two rules for one id."""
        yield from _allow_problems("transmit", self.transmit, self.allow)
        if self.transmit != "off" and self.max_age_seconds is None:
            yield (
                "max_age_seconds",
                "is required where `transmit` is not off: old frames on a live bus are dangerous, "
                "and only you know how old is too old",
            )
        yield from _policy_problems(self.policy)


def permission_problems(
    transmit: TransmitSection, relay: RelaySection, modes: Iterable[tuple[str, str]]
) -> Iterable[tuple[str, str]]:
    """A permission that no dongle could use, and one for all of several, where `modes` are (interface, mode)
    of each.

    One dongle in normal mode is enough: what of the others is listen-only never transmits all the same.
    """
    able = sum(may_transmit(interface, mode) for interface, mode in modes)
    if able > 1:
        for name, permission, chosen in (
            ("transmit", transmit.mode, transmit.dongles),
            ("relay", relay.transmit, relay.dongles),
        ):
            if permission == "all" and chosen is None:
                yield (
                    f"{name}.dongles",
                    f'is required: {able} dongles are in normal mode, and "all" must say for which of them',
                )
    if able:
        return
    for key, permission in (("transmit.mode", transmit.mode), ("relay.transmit", relay.transmit)):
        if permission != "off":
            yield key, 'needs `mode = "normal"` in a dongle that is no log: a listen-only one never transmits'


def may_transmit(interface: str, mode: str) -> bool:
    """Whether a dongle could put a frame on a bus at all."""
    return mode == "normal" and interface != "log"


def is_relayed_to(relay: RelaySection, interface: str, mode: str) -> bool:
    """Whether a group may put frames on the bus of a dongle: else nothing ever listens for any."""
    return relay.transmit != "off" and may_transmit(interface, mode)


NOT_IN_FORCE: Final = "which is not in force yet, for this version runs none"


def transmit_sentence(transmit: TransmitSection, relay: RelaySection, interface: str, mode: str) -> str:
    """What this gateway's configuration, as it holds for a dongle, lets others put on its bus."""
    said = []
    if may_transmit(interface, mode) and transmit.mode != "off":
        limit = f"at most {transmit.max_frames_per_second:g} frames/s by commands, {NOT_IN_FORCE}"
        said.append(f"{_ids(transmit.mode, transmit.allow)}, {limit}")
    if is_relayed_to(relay, interface, mode):
        limit = f"none older than {relay.max_age_seconds:g} s, by the relay"
        dry = ", as a dry run: nothing is sent" if relay.dry_run else ""
        said.append(f"{_ids(relay.transmit, relay.allow)}, {limit}{_gates(relay.gate)}{dry}")
    return f"may transmit {'; and '.join(said)}" if said else "never transmits"


def _ids(permission: Permission, allow: Sequence[AllowEntry]) -> str:
    if permission == "all":
        return "every frame"
    shown = [_entry_text(entry) for entry in allow[:_SHOWN_IDS]]
    more = len(allow) - len(shown)
    return f"ids {', '.join(shown)}{f' and {more} more entries' if more else ''}"


def _gates(gates: Sequence[GateEntry]) -> str:
    said = " and ".join(f"{gate.signal} of {gate.dongle} is {gate.bounds}" for gate in gates)
    return f", while {said}" if said else ""


def _policy_problems(policy: Sequence[ReplayRule]) -> Iterable[tuple[str, str]]:
    """Two rules that would both hold for an id on one bus."""
    seen: dict[tuple[int, bool], list[tuple[int, str | None]]] = {}
    for index, rule in enumerate(policy):
        if list(rule.problems()):
            continue
        earlier = seen.setdefault(rule.key(), [])
        for other, dongle_id in earlier:
            if rule.dongle is None or dongle_id in (None, rule.dongle):
                yield f"policy[{index}].id", f"has a rule already, policy[{other}]"
                break
        earlier.append((index, rule.dongle))


def _entry_text(entry: AllowEntry) -> str:
    wanted, mask, extended = entry.terms()
    every_bit = EXTENDED_ID_MASK if extended else STANDARD_ID_MASK
    text = id_text(wanted, extended=extended)
    if mask & every_bit != every_bit:
        text += f" mask {id_text(mask & every_bit, extended=extended)}"
    return (
        text if entry.data is None else f"{text} with data {' '.join(entry.data.split()).upper() or 'none'}"
    )


def _allow_problems(
    key: str, permission: Permission, allow: Sequence[AllowEntry]
) -> Iterable[tuple[str, str]]:
    if permission == "allowlist" and not allow:
        yield "allow", f'is empty: list what may be transmitted, or set `{key} = "off"`'
    if permission == "all" and allow:
        yield "allow", f'has no effect with `{key} = "all"`: set `{key} = "allowlist"`, or leave it out'
