"""What of a CAN interface is not set up as configured, and the commands that make it so.

What the kernel takes together and what only while an interface is down: drivers/net/can/dev/netlink.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from edge_agent.config.can_settings import CanSettings
from edge_agent.host.rtnetlink import CanLink

# A controller divides its clock: it comes near a sample point, rarely upon it.
SAMPLE_POINT_TOLERANCE_PERMILLE: Final = 25
_SOME_BITRATE: Final = 500_000

Command = tuple[str, ...]


class Difference(Struct, frozen=True):
    """A setting that an interface has otherwise than it should."""

    name: str
    effective: int | bool | None
    wanted: int | bool

    def __str__(self) -> str:
        return f"{self.name} {_shown(self.effective)} -> {_shown(self.wanted)}"


def differences(settings: CanSettings, link: CanLink) -> list[Difference]:
    """What a controller has otherwise; of a virtual bus nothing can be."""
    if not link.has_controller:
        return []
    found = [
        _difference("bitrate", link.bitrate, settings.bitrate),
        _difference("fd", link.fd, settings.fd),
        _difference("data_bitrate", link.data_bitrate, settings.data_bitrate),
        _difference("listen_only", link.listen_only, settings.listen_only),
        _difference("restart_ms", link.restart_ms, settings.restart_ms),
    ]
    wanted, effective = settings.sample_point_permille, link.sample_point_permille
    if wanted is not None and abs(wanted - (effective or 0)) > SAMPLE_POINT_TOLERANCE_PERMILLE:
        found.append(Difference("sample_point_permille", effective, wanted))
    return [one for one in found if one is not None]


def set_up_commands(settings: CanSettings, link: CanLink) -> list[Command]:
    """Commands of iproute2 that make `link` as it is to be and up; none where it is."""
    channel, length = settings.channel, settings.tx_queue_length
    commands: list[Command] = []
    if length is not None and length != link.tx_queue_length:
        commands.append(("ip", "link", "set", channel, "txqueuelen", str(length)))
    is_up = link.is_up
    if differences(settings, link):
        if is_up:
            commands.append(("ip", "link", "set", channel, "down"))
        commands.append(("ip", "link", "set", channel, "type", "can", *_type_arguments(settings, link)))
        is_up = False
    if not is_up:
        commands.append(("ip", "link", "set", channel, "up"))
    return commands


def missing_setting(settings: CanSettings, link: CanLink) -> str | None:
    """The key of the configuration without which the kernel lets the interface not be up."""
    if not link.has_controller:
        return None
    if settings.bitrate is None and link.bitrate is None:
        return "bitrate"
    has_data_bitrate = settings.data_bitrate is not None or link.data_bitrate is not None
    return "data_bitrate" if settings.fd and not has_data_bitrate else None


def set_up_by_hand(settings: CanSettings, link: CanLink | None) -> str:
    """What a person types to set the interface up; without a `link` it may be of either kind."""
    prefix = f"sudo ip link set {settings.channel}"
    down = f"{prefix} down; " if link is not None and link.is_up else ""
    if link is not None and not link.has_controller:
        return f"{prefix} up"
    return f"{down}{prefix} up type can {' '.join(_type_arguments(settings, link))}"


def _type_arguments(settings: CanSettings, link: CanLink | None) -> Iterator[str]:
    """All of them, because CAN FD is only taken together with both bit rates."""
    bitrate = settings.bitrate or (link.bitrate if link else None) or _SOME_BITRATE
    yield from ("bitrate", str(bitrate))
    if settings.sample_point_permille is not None:
        yield from ("sample-point", f"{settings.sample_point_permille / 1000:.3f}")
    if settings.fd:
        data_bitrate = settings.data_bitrate or (link.data_bitrate if link else None) or 4 * bitrate
        yield from ("dbitrate", str(data_bitrate), "fd", "on")
    elif link is not None and link.fd:
        yield from ("fd", "off")
    yield from ("listen-only", "on" if settings.listen_only else "off")
    if settings.restart_ms is not None:
        yield from ("restart-ms", str(settings.restart_ms))


def _difference(name: str, effective: int | bool | None, wanted: int | bool | None) -> Difference | None:
    return None if wanted is None or wanted == effective else Difference(name, effective, wanted)


def _shown(value: int | bool | None) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "unset" if value is None else str(value)
