"""What the server is told of an arbitration id: new on its bus, or unknown to all databases of its dongle.

`new_ids` finds the first kind, `decoding/decoder` the second; `announcing` sends both.
"""

from __future__ import annotations

from typing import Literal

from can_stream.frames.batches import id_text
from can_stream.protocol.control import Discovery
from can_stream.protocol.identity import identifier_from
from edge_agent.discovery.seen_ids import BusId

IdDiscoveryKind = Literal["NewId", "UnknownId"]


def id_discovery(kind: IdDiscoveryKind, dongle_id: str, bus_id: BusId, wall_ns: int) -> Discovery:
    """The report that `dongle_id` has shown this id."""
    shown = id_text(bus_id[0], extended=bus_id[1])
    slug = identifier_from(f"{shown.removeprefix('0x')}-{dongle_id}")
    details = {"id": shown, "is_extended": bus_id[1]}
    return Discovery(wall_ns, kind, slug, dongle_id, details)
