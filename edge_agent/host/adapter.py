"""CAN adapters that are plugged in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

MAX_TEXT_CHARACTERS: Final = 128


class Adapter(Struct, frozen=True):
    """A network interface or serial port that may be a CAN adapter.

    `names`: `channel` and what else the configuration calls it. `node` differs each time it is plugged in.
    `index`: which of several on one stick. `port_id`: its place, for those without a serial number of their
    own. `device_id`: what it is called wherever it is plugged in; None where nothing tells it from others.
    """

    interface: str
    channel: str
    node: int
    names: frozenset[str]
    driver: str = ""
    serial_number: str = ""
    manufacturer: str = ""
    product: str = ""
    usb_id: str = ""
    index: int = 0
    port_id: str | None = None
    is_up: bool | None = None
    device_id: str | None = None

    @property
    def serial_id(self) -> str | None:
        """The serial number, with the index of every channel but the first."""
        return indexed(self.serial_number, self.index) if self.serial_number else None

    @property
    def plug(self) -> tuple[str, int]:
        """The same for as long as it stays plugged in."""
        return self.channel, self.node


def clean_text(raw: bytes) -> str:
    """One line of a device's own words: printable, 128 characters at most, none at all for an empty one."""
    line = raw.decode("utf-8", "replace").partition("\n")[0].strip()
    shown = "".join(letter if letter.isprintable() else "?" for letter in line[:MAX_TEXT_CHARACTERS])
    return shown.strip()


def indexed(name: str, index: int) -> str:
    """The name of one of several channels; the first is called as the stick is."""
    return f"{name}-{index}" if index else name


def identified(adapters: Sequence[Adapter]) -> list[Adapter]:
    """With `device_id`: the serial number where it is only one's, else the place where it is only one's."""
    serials = Counter((one.interface, one.serial_id) for one in adapters)
    places = Counter((one.interface, one.port_id) for one in adapters)

    def device_id(one: Adapter) -> str | None:
        if one.serial_id is not None and serials[one.interface, one.serial_id] == 1:
            return one.serial_id
        return one.port_id if places[one.interface, one.port_id] == 1 else None

    return [replace(one, device_id=device_id(one)) for one in adapters]
