"""Whether a direction is open: what both gateways allow, and with what it is told how to open it."""

from __future__ import annotations

from typing import Final

from stream_server.fleet.side import Facts, Side

OPEN: Final = "open"
LOG: Final = "log"
"""The interface of a dongle that plays one."""
CLOSED: Final = "closed"
"""Where nobody has looked yet."""
_NAMES: Final = {
    "agent_id": "agent",
    "interface": "interface",
    "device_id": "device id",
    "bitrate": "bit rate",
    "fd": "FD",
}


def direction(source: Side, sink: Side) -> str:
    """OPEN, or why nothing is relayed from `source` to `sink`, with the remedy."""
    return _closed_by_source(source) or _closed_by_sink(sink) or _closed_by_log(source, sink) or OPEN


def _closed_by_source(source: Side) -> str:
    if not source.knows_relay:
        return _speaks_none(source)
    if not source.allows.source:
        return (
            f"source: the gateway of {source.dongle_id} does not let its frames be relayed; "
            "set `source = true` in its [relay]"
        )
    return ""


def _closed_by_sink(sink: Side) -> str:
    if not sink.knows_relay:
        return _speaks_none(sink)
    if not sink.allows.transmit:
        return (
            f"transmit: the gateway of {sink.dongle_id} lets nothing be put on its bus; set `transmit` and "
            "`max_age_seconds` in its [relay], and `mode` of the dongle to normal"
        )
    if sink.allows.confirms == "none":
        return (
            f"unconfirmed: nothing tells that {sink.dongle_id} has sent a frame; use an adapter that "
            "acknowledges what it is given"
        )
    if sink.allows.stopped:
        return f"stopped: on the gateway of {sink.dongle_id}: {sink.allows.stopped}"
    return ""


def _closed_by_log(source: Side, sink: Side) -> str:
    if source.facts.interface == LOG and not sink.allows.from_logs:
        return (
            f"from_logs: {source.dongle_id} plays a log; set `from_logs = true` in the [relay] of the "
            f"gateway of {sink.dongle_id} if that is meant"
        )
    return ""


def _speaks_none(side: Side) -> str:
    return (
        f"version: agent {side.facts.agent_id} has not said that it knows of a relay; update it, and let it "
        "connect"
    )


def difference(name: str, pinned: Facts, now: Facts) -> str:
    """What side `name` is no longer as it was when the group was activated; "" where it is the same.

    What is not known now, as while an adapter is unplugged, is no difference.
    """
    for field, shown in _NAMES.items():
        was, found = getattr(pinned, field), getattr(now, field)
        if found is not None and found != was:
            was_text = "not known" if was is None else was
            return f"{shown} of {name} was {was_text} when the group was activated, and is {found}"
    return ""
