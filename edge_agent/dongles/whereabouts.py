"""Which of the adapters that are plugged in a dongle of the configuration is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

from can_stream.protocol.control import Discovery
from can_stream.protocol.identity import identifier_from
from edge_agent.config.dongle import DongleSection
from edge_agent.errors import SourceError
from edge_agent.host.adapter import Adapter

# In a sentence that a person reads.
_MAX_LISTED: Final = 8


class DiscoveryKind(StrEnum):
    """`kind` of the discoveries that tell of adapters."""

    PLUGGED = "DonglePlugged"
    UNPLUGGED = "DongleUnplugged"


class Whereabouts:
    """Which adapter a dongle is at the moment; `claimed` are the channels that the configuration names.

    A dongle with `device_id` is that adapter. One with `channel` is what has this name, or else the adapter
    that was last read under it, wherever it is now, unless it is claimed.
    """

    def __init__(self, section: DongleSection, claimed: Collection[str] = ()) -> None:
        self._section = section
        self._claimed = frozenset(claimed)
        self._found: Adapter | None = None
        self._read: Adapter | None = None

    @property
    def channel(self) -> str:
        """The name by which it was found last; as configured while it is not there."""
        if self._found is None or self._section.channel in self._found.names:
            return self._section.channel or self._section.device_id or ""
        return self._found.channel

    @property
    def device_id(self) -> str | None:
        """Its own, where it is known."""
        known = self._found or self._read
        return self._section.device_id or (None if known is None else known.device_id)

    @property
    def remark(self) -> str:
        """What is worth knowing of how it was found."""
        if self._found is None or self.channel == self._section.channel:
            return ""
        if self._section.channel:
            return f"this is the adapter {self.device_id}, which was {self._section.channel}"
        return f"this is the adapter {self.device_id}"

    def locate(self, adapters: Sequence[Adapter]) -> str:
        """The channel to open. Raises SourceError where a `device_id` is not one adapter's."""
        found = None
        try:
            if self._section.device_id is None:
                found = self._named(self._section.channel, adapters) or self._moved(adapters)
            else:
                found = by_device_id(self._section.device_id, self._section.interface, adapters)
        finally:
            self._found = found
        return self.channel

    def opened(self, adapters: Iterable[Adapter]) -> None:
        """What was located is read now, known as it is among these: it may have come just after the look."""
        self._read = self._found = self._named(self.channel, adapters) or self._found

    def is_at(self, adapter: Adapter) -> bool:
        """Whether this dongle is that adapter, which is there or was."""
        if self._read is not None and adapter.plug == self._read.plug:
            return True
        if adapter.interface != self._section.interface:
            return False
        if self._section.device_id is not None:
            return self._section.device_id in (adapter.device_id, adapter.port_id)
        return self._section.channel in adapter.names or self._has_moved_to(adapter)

    def _named(self, channel: str, adapters: Iterable[Adapter]) -> Adapter | None:
        interface = self._section.interface
        return next((one for one in adapters if one.interface == interface and channel in one.names), None)

    def _moved(self, adapters: Iterable[Adapter]) -> Adapter | None:
        return next((one for one in adapters if self._has_moved_to(one)), None)

    def _has_moved_to(self, adapter: Adapter) -> bool:
        before = self._read
        if before is None or adapter.interface != before.interface or adapter.names & self._claimed:
            return False
        return before.device_id is not None and adapter.device_id == before.device_id


def by_device_id(device_id: str, interface: str, adapters: Sequence[Adapter]) -> Adapter:
    """The adapter of this `device_id` and interface. Raises SourceError with what is plugged in."""
    named = [one for one in adapters if device_id in (one.device_id, one.port_id)]
    fitting = [one for one in named if one.interface == interface]
    if len(fitting) == 1:
        return fitting[0]
    if named and not fitting:
        raise _wrong_interface(device_id, named[0])
    alike = fitting or [one for one in adapters if one.serial_id == device_id and one.interface == interface]
    if alike:
        reason = f"{len(alike)} adapters are called {device_id}"
        places = [f'"{one.device_id}" ({one.channel})' for one in alike if one.device_id]
        remedy = f"set `device_id` to one of {_listed(places)}" if places else "set `channel` instead"
        raise SourceError("AMBIGUOUS", reason, remedy)
    there = [f"{one.device_id} ({one.channel})" for one in adapters if one.device_id is not None]
    plugged = f"plugged in: {_listed(there)}" if there else "none with a device_id is plugged in"
    remedy = f"plug it in, or correct `device_id`; {plugged}"
    raise SourceError("NO_DEVICE", f"the adapter {device_id} is not there", remedy)


def discovery(kind: DiscoveryKind, adapter: Adapter, dongle_id: str | None, wall_ns: int) -> Discovery:
    """What the server is told of an adapter that has come or gone; `dongle_id` where it is configured."""
    details: dict[str, Any] = {
        "interface": adapter.interface,
        "channel": adapter.channel,
        "device_id": adapter.device_id,
        "driver": adapter.driver,
        "serial_number": adapter.serial_number,
        "product": adapter.product,
    }
    known = {name: value for name, value in details.items() if value}
    return Discovery(wall_ns, kind, identifier_from(adapter.device_id or adapter.channel), dongle_id, known)


def _wrong_interface(device_id: str, found: Adapter) -> SourceError:
    what = "a serial port" if found.interface == "slcan" else "a network interface"
    more = " and its `bitrate`" if found.interface == "slcan" else ""
    remedy = f'set `interface = "{found.interface}"`{more}'
    return SourceError("WRONG_INTERFACE", f"the adapter {device_id} is {what}, {found.channel}", remedy)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
