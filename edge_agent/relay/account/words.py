"""Why frames wait, and why they are not sent: the relay's words, with what they mean and what to do.

A word that frames wait for may be followed by `: ` and more, which is then told as it is.
"""

# ruff: noqa: E501 - tables, of which each row is a line

from __future__ import annotations

from typing import Final

from can_stream.protocol.relay_control import NotSent

WAITS: Final = {
    "lease": "the server has not confirmed lately that the group is on: look at the connection to it, and whether the group is still active",
    "burst": "what was sent has not come back yet: where this lasts, nobody acknowledges on this bus; look for another node, the wiring and the bit rate",
    "queue": "what an earlier trouble may have left in the driver is not known to be gone: connect another node that acknowledges; where that does not help, take the interface down and up, or plug the adapter in again",
    "bus": "the bus is down, off or unplugged: see what the dongle's own line says",
    "bus_load": "the bus is as full as `max_bus_load` and `max_live_bus_load` of [relay] allow: allow fewer ids, or "
    'set `replay = "latest"` for some in `policy`, or raise the bound',
    "bit_rate": "the bit rate of this bus is not known, so nor is its load: set `bitrate` of the dongle",
    "gate": "`gate` of [relay] does not hold, or cannot be known: see that the vehicle is as it asks, and that its signals are heard",
    "loop": "own frames come back from others on this bus: take one group out of the circle, then activate again",
    "helper": "the helper takes the interface down and up to empty its queue: wait",
}
"""What frames that are here may wait for, until they are too old."""

REASONS: Final[dict[NotSent, str]] = {
    "listen_only": 'this dongle only listens: set its `mode = "normal"` where this bus may be sent to',
    "error_frame": "these describe the other bus, and are no frames: nothing is to be done",
    "unsupported": "this bus cannot carry them: set `fd = true` of the dongle where its adapter and bus are for CAN FD",
    "unconfirmed": "this adapter does not tell what it has sent: use one that acknowledges, see docs/relay.md",
    "not_allowed": "their ids are not in `allow` of [relay], or a log is played and `from_logs` is not set: say what "
    "may be sent",
    "data_mismatch": "`allow` of [relay] has their ids with other data: correct `data`, where these may be sent",
    "never": "`policy` of [relay] says `never` for their ids: change that where they may be sent",
    "superseded": "newer frames of their ids waited behind them, and `policy` says `latest`: as configured",
    "too_old": "they were older than `max_age_seconds` of [relay], or their age could not be known: look at the connections of both sides and what frames waited for; clocks need not be right",
    "asleep": "nobody else spoke on this bus: wake it, or set `wake = true` in [relay] where the relay may",
    "disabled": "they came while this gateway let none through: `edge-agent relay start`, or make `enable_file`",
    "gate": "`gate` of [relay] did not hold: see that the vehicle is as it asks",
    "dry_run": "they would have been sent: activate the group without `dry_run`, and leave it out of [relay]",
    "trimmed": "more waited than there is room for: see why this side was away so long, or lower `max_age_seconds`",
    "deactivated": "the group was deactivated before they could be sent: as asked",
    "gap": "they never came: what the other side lost is in its own `edge-agent status`",
}
"""Why a frame was not put on the bus, as the one here who may change it reads it."""

GROUP_REASONS: Final = {
    "offline_side": "one side cannot be reached: look there with `edge-agent doctor`",
    "bus_load": WAITS["bus_load"],
    "replaying": "it is catching up after an outage: wait",
}
"""Why a group is degraded, where the server says a word alone; with its other words it says what to do."""


def waits_sentence(waits_for: str) -> str:
    """What frames wait for, and what to do: of a word, with what follows it."""
    word, _, more = waits_for.partition(":")
    meant = WAITS.get(word.strip(), "see docs/relay.md")
    return f"{waits_for} ({meant})" if more else f"{word} ({meant})"


def group_sentence(reason: str) -> str:
    """Why a group is degraded, and what to do."""
    meant = GROUP_REASONS.get(reason)
    return reason if meant is None else f"{reason} ({meant})"


def reason_sentence(reason: str) -> str:
    """Why frames were not sent, and what to do; the word alone where it is of a newer version."""
    meant = {str(known): text for known, text in REASONS.items()}.get(reason)
    return reason if meant is None else f"{reason}: {meant}"
