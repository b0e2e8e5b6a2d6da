"""What a dongle is to a relay: which adapter on which bus, and what its gateway allows."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from can_stream.protocol.control import RelaySide


class Facts(Struct, frozen=True):
    """What an activation pins of a side. None: not known."""

    agent_id: str
    interface: str
    device_id: str | None
    bitrate: int | None
    fd: bool


class Side(Struct, frozen=True):
    """A dongle as its agent listed it last. `knows_relay`: its agent knows what a relay needs of it."""

    dongle_id: str
    facts: Facts
    knows_relay: bool
    allows: RelaySide


def side_of(row: Any) -> Side:
    """From a row of `registry.dongle_rows`."""
    facts = Facts(row.agent_id, row.interface, row.device_id, row.bitrate, row.fd)
    allows = RelaySide() if row.allows is None else msgspec.json.decode(row.allows, type=RelaySide)
    return Side(row.dongle_id, facts, bool(row.knows_relay), allows)
