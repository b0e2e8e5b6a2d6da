"""How a CAN interface is to be set up."""

from __future__ import annotations

from msgspec import Struct


class CanSettings(Struct, frozen=True):
    """What the configuration says of an interface; None where it leaves it as it is."""

    channel: str
    listen_only: bool = True
    bitrate: int | None = None
    sample_point_permille: int | None = None
    fd: bool = False
    data_bitrate: int | None = None
    restart_ms: int | None = None
    tx_queue_length: int | None = None
