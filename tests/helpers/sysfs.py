"""A /sys that is made, with sticks in it that no machine of tests has."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

_CAN: Final = "280"


class SysTree:
    """`root` is laid out as the kernel does, as far as `Inventory` looks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._devices = root / "devices"
        for name in ("net", "tty"):
            (root / "class" / name).mkdir(parents=True)

    def stick(
        self,
        port: str = "1-1",
        *,
        serial: bytes | None = None,
        usb_id: str = "1d50:606f",
        product: bytes = b"candleLight USB to CAN adapter",
        manufacturer: bytes = b"bytewerk",
    ) -> Path:
        """A USB device at a port."""
        path = self._devices / "pci0000:00" / "usb1" / port
        vendor, _, product_number = usb_id.partition(":")
        texts = {"idVendor": vendor.encode(), "idProduct": product_number.encode()}
        texts |= {"product": product, "manufacturer": manufacturer}
        if serial is not None:
            texts["serial"] = serial
        path.mkdir(parents=True)
        for name, text in texts.items():
            (path / name).write_bytes(text + b"\n")
        return path

    def function(self, stick: Path, number: int = 0, driver: str = "gs_usb") -> Path:
        """One of the functions of a stick, the same when asked again."""
        path = stick / f"{stick.name}:1.{number}"
        path.mkdir(exist_ok=True)
        (path / "bInterfaceNumber").write_text(f"{number:02x}\n")
        return self.driven(path, driver)

    def driven(self, device: Path, driver: str) -> Path:
        """With a driver."""
        drivers = self.root / "bus" / "any" / "drivers" / driver
        drivers.mkdir(parents=True, exist_ok=True)
        link = device / "driver"
        link.unlink(missing_ok=True)
        link.symlink_to(drivers)
        return device

    def board(self, name: str = "spi0.0", driver: str = "mcp251x") -> Path:
        """A device of the board itself."""
        path = self._devices / "platform" / name
        path.mkdir(parents=True)
        return self.driven(path, driver)

    def network(
        self,
        name: str,
        device: Path | None = None,
        *,
        kind: str = _CAN,
        dev_id: int = 0,
        dev_port: int = 0,
        flags: int = 0x1,
        alias: bytes = b"",
    ) -> None:
        """A network interface, virtual without a device."""
        path = (device or self._devices / "virtual") / "net" / name
        path.mkdir(parents=True)
        texts = {"type": kind, "dev_id": hex(dev_id), "dev_port": str(dev_port), "flags": hex(flags)}
        for file, text in texts.items():
            (path / file).write_text(f"{text}\n")
        (path / "ifalias").write_bytes(alias)
        self._link(path, "net", device)

    def serial_port(self, name: str, device: Path | None = None) -> None:
        """A terminal, at a device or of no hardware."""
        path = (device or self._devices / "virtual") / "tty" / name
        path.mkdir(parents=True)
        self._link(path, "tty", device)

    def unplug(self, name: str) -> None:
        """A network interface or terminal is gone."""
        for kind in ("net", "tty"):
            link = self.root / "class" / kind / name
            if link.is_symlink():
                shutil.rmtree(os.path.realpath(link))
                link.unlink()

    def _link(self, path: Path, kind: str, device: Path | None) -> None:
        if device is not None:
            (path / "device").symlink_to(device)
        (self.root / "class" / kind / path.name).symlink_to(path)
