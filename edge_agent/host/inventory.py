"""What is plugged in, as /sys says: network interfaces for CAN, and serial ports on USB.

Linux, Documentation/ABI/testing/sysfs-class-net and sysfs-bus-usb. Needs neither udev nor a privilege.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from edge_agent.host.adapter import Adapter, clean_text, identified, indexed

SYS: Final = Path("/sys")
MAX_ADAPTERS: Final = 256
_MAX_ENTRIES: Final = 4096
_MAX_FILE_BYTES: Final = 4096
_MAX_NUMBER: Final = 0xFFFF_FFFF
_ARPHRD_CAN: Final = "280"  # linux/if_arp.h
_IFF_UP: Final = 1  # linux/if.h

Signature = frozenset[tuple[str, int]]


class Inventory:
    """`ports` are the serial ports of the configuration: they are looked for by their names, too."""

    def __init__(self, ports: Collection[str] = (), root: Path = SYS) -> None:
        self._ports = tuple(port for port in ports if "\0" not in port)  # which no file is called
        self._networks, self._terminals = root / "class" / "net", root / "class" / "tty"

    def signature(self) -> Signature:
        """Changes whenever something comes or goes, and costs little; a stick that was away is another."""
        seen = {
            (entry.path, entry.inode())
            for directory in (self._networks, self._terminals)
            for entry in _entries(directory)
        }
        return frozenset(seen | {(port, number) for port in self._ports if (number := _port_number(port))})

    def adapters(self) -> list[Adapter]:
        """All of them, in the order of their names; 256 at most."""
        found = [*self._network_interfaces(), *self._serial_ports()]
        known = {one.channel for one in found}
        for port in self._ports:
            real = os.path.realpath(port)
            if real not in known and (number := _port_number(port)):
                known.add(real)
                found.append(Adapter("slcan", real, number, self._names(real)))
        found.sort(key=lambda one: (one.interface != "socketcan", one.channel))
        return identified(found[:MAX_ADAPTERS])

    def _network_interfaces(self) -> Iterator[Adapter]:
        for entry in _entries(self._networks):
            path = self._networks / entry.name
            # A name may be any bytes; what is not printable can be configured nowhere.
            if _text(path / "type") != _ARPHRD_CAN or not entry.name.isprintable():
                continue
            index = _number(path / "dev_port", 10) or _number(path / "dev_id", 16)
            is_up = bool(_number(path / "flags", 16) & _IFF_UP)
            names = frozenset({entry.name})
            found = Adapter("socketcan", entry.name, entry.inode(), names, index=index, is_up=is_up)
            yield _with_hardware(found, path)

    def _serial_ports(self) -> Iterator[Adapter]:
        for entry in _entries(self._terminals):
            path = self._terminals / entry.name
            stick, function = _usb_device(_real(path / "device"))
            if stick is not None and entry.name.isprintable():
                channel = f"/dev/{entry.name}"
                index = 0 if function is None else _number(function / "bInterfaceNumber", 16)
                found = Adapter("slcan", channel, entry.inode(), self._names(channel), index=index)
                yield _with_hardware(found, path)

    def _names(self, channel: str) -> frozenset[str]:
        return frozenset({channel, *(port for port in self._ports if os.path.realpath(port) == channel)})


def _with_hardware(adapter: Adapter, path: Path) -> Adapter:
    device = _real(path / "device")
    driver = None if device is None else _real(device / "driver")
    known = replace(adapter, driver=_name(driver))
    stick, _ = _usb_device(device)
    if stick is None:
        place = _name(device) or _text(path / "ifalias")
        return replace(known, port_id=indexed(place, adapter.index) if place else None)
    usb_id = f"{_text(stick / 'idVendor')}:{_text(stick / 'idProduct')}"
    return replace(
        known,
        serial_number=_text(stick / "serial"),
        manufacturer=_text(stick / "manufacturer"),
        product=_text(stick / "product"),
        usb_id=usb_id,
        port_id=indexed(f"{usb_id}@{_name(stick)}", adapter.index),
    )


def _usb_device(device: Path | None) -> tuple[Path | None, Path | None]:
    """The stick that a device is on, None where it is on no USB; and by which of its functions."""
    function = None
    for place in () if device is None else (device, *device.parents):
        if _is_there(place / "idVendor"):
            return place, function
        if _is_there(place / "bInterfaceNumber"):
            function = place
    return None, None


def _is_there(path: Path) -> bool:
    return os.access(path, os.F_OK)


def _real(link: Path) -> Path | None:
    """Where it leads, None where it leads nowhere."""
    return Path(os.path.realpath(link)) if _is_there(link) else None


def _name(path: Path | None) -> str:
    return "" if path is None else clean_text(os.fsencode(path.name))


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(directory) as entries:
        yield from islice(entries, _MAX_ENTRIES)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return clean_text(file.read(_MAX_FILE_BYTES))
    except OSError:
        return ""


def _number(path: Path, base: int) -> int:
    with suppress(ValueError):
        return min(max(int(_text(path), base), 0), _MAX_NUMBER)
    return 0


def _port_number(port: str) -> int:
    """Another one when the name leads somewhere else; 0 where it leads nowhere."""
    try:
        found = Path(port).stat()
    except (OSError, ValueError):
        return 0
    return found.st_ino + found.st_rdev
