"""The command `edge-agent dongles`."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final

import click
from msgspec import Struct

from edge_agent.errors import LinkError
from edge_agent.host.adapter import Adapter
from edge_agent.host.can_link import CanLink, read_can_link
from edge_agent.host.inventory import Inventory

_HEADINGS: Final = ("CHANNEL", "INTERFACE", "DRIVER", "SERIAL NUMBER", "BITRATE", "STATE", "PRODUCT")
_BITRATE: Final = 500_000
_AGENT: Final = "edge-agent "
_NOTHING: Final = (
    "No CAN adapter is plugged in: there is no network interface for CAN (can0), and no serial port on USB "
    "(/dev/ttyACM0, /dev/ttyUSB0).\nSee with `lsusb` whether the system sees it, and with `sudo dmesg` what "
    "it makes of it."
)


_TRY_WITHOUT: Final = """\
Without one the agent can still be tried:
- with a virtual bus, and this command once more:
    sudo modprobe vcan && sudo ip link add dev vcan0 type vcan && sudo ip link set vcan0 up
- with a log: `edge-agent replay drive.log --print`, or as a dongle of agent.toml:
    [[dongles]]
    interface = "log"
    channel = "drive.log\""""
_BEGINNING: Final = """\
# What `edge-agent dongles --config` found here. `edge-agent check-config --config FILE` checks it,
# `edge-agent run --config FILE` streams. It only listens: it neither sends nor acknowledges frames.

[server]
url = "https://stream.example.com"    # your stream server's
"""


class Plugged(Struct, frozen=True):
    """An adapter and how it stands; `remedy` for what keeps it from being read."""

    adapter: Adapter
    state: str
    link: CanLink | None = None
    remedy: str = ""

    @property
    def bitrate(self) -> str:
        """As the table has it, with that of the data phase."""
        rates = [] if self.link is None else [self.link.bitrate, self.link.data_bitrate]
        return "/".join(str(rate) for rate in rates if rate) or "-"

    def row(self) -> tuple[str, ...]:
        """What stands below the headings."""
        one = self.adapter
        driver, number = one.driver or "virtual", one.serial_number or "-"
        return one.channel, one.interface, driver, number, self.bitrate, self.state, one.product

    def record(self) -> dict[str, Any]:
        """For programs; null is what is not known."""
        one, link = self.adapter, self.link
        return {
            "interface": one.interface,
            "channel": one.channel,
            "device_id": one.device_id,
            "driver": one.driver or None,
            "serial_number": one.serial_number or None,
            "manufacturer": one.manufacturer or None,
            "product": one.product or None,
            "usb_id": one.usb_id or None,
            "state": self.state,
            "bitrate": None if link is None else link.bitrate,
            "data_bitrate": None if link is None else link.data_bitrate,
            "listen_only": None if link is None or not link.has_controller else link.listen_only,
            "remedy": self.remedy or None,
        }

    def configuration(self) -> str:
        """The least that the agent's configuration needs to have of it."""
        return "\n".join(self._settings())

    def listening(self) -> str:
        """As `configuration`, with what is plugged in, and that it only listens."""
        one = self.adapter
        known = " ".join(text for text in (one.manufacturer, one.product, one.driver) if text)
        about = f"# {known or 'a virtual bus'}"
        if one.interface == "slcan":
            about += "; take it out where this is no CAN adapter"
        return "\n".join([about, *self._settings(), 'mode = "listen_only"'])

    def _settings(self) -> list[str]:
        one = self.adapter
        lines = ["[[dongles]]"]
        if one.interface != "socketcan":
            lines.append(f"interface = {json.dumps(one.interface)}")
        lines.append(f"channel = {json.dumps(one.channel)}")
        if one.device_id is not None:
            lines[-1] += f"    # or device_id = {json.dumps(one.device_id, ensure_ascii=False)}"
        if one.interface == "slcan":
            lines.append(f"bitrate = {_BITRATE}    # your bus's")
        return lines


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
@click.option(
    "--config", "as_config", is_flag=True, help="Print the agent.toml for them, which only listens."
)
def dongles(*, as_json: bool, as_config: bool) -> None:
    """Say which CAN adapters are plugged in, how they stand, and how to configure them.

    These are network interfaces for CAN, and all serial ports on USB, whether or not there is a CAN adapter
    behind them. Serial ports on the board and adapters that only python-can knows are not looked for.
    """
    if as_json and as_config:
        raise click.UsageError("give --json or --config, not both")
    found = [_seen(one) for one in Inventory().adapters()]
    if as_config:
        click.echo(agent_configuration(found))
        return
    if as_json:
        click.echo(json.dumps([one.record() for one in found], indent=2))
        return
    if found:
        _show(found)
    else:
        click.echo(_NOTHING)
    if not any(one.adapter.interface == "socketcan" for one in found) and not _has_socketcan():
        click.echo("This kernel has no SocketCAN (AF_CAN): run `sudo modprobe can_raw`, or use slcan.")


def agent_configuration(found: Sequence[Plugged]) -> str:
    """A whole configuration for what is plugged in. ClickException where nothing is."""
    if not found:
        raise click.ClickException(f"{_NOTHING}\n{_TRY_WITHOUT}")
    return "\n\n".join([_BEGINNING.rstrip(), *(one.listening() for one in found)])


def _show(found: Sequence[Plugged]) -> None:
    for line in table([one.row() for one in found], _width()):
        click.echo(line)
    for one in found:
        if one.remedy:
            click.echo(f"\n{one.adapter.channel} is {one.state}: {one.remedy}")
    click.echo("\nIn the agent's configuration; a device_id is this adapter under whatever name:\n")
    click.echo("\n\n".join(one.configuration() for one in found))


def table(rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """The rows in columns below the headings, no line longer than `width` characters."""
    columns = list(zip(_HEADINGS, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        line = "  ".join(text.ljust(size) for text, size in zip(row, widths, strict=True)).rstrip()
        lines.append(line if width is None or len(line) <= width else f"{line[: width - 3].rstrip()}...")
    return lines


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _seen(adapter: Adapter) -> Plugged:
    return _network_interface(adapter) if adapter.interface == "socketcan" else _serial_port(adapter)


def _network_interface(adapter: Adapter) -> Plugged:
    try:
        link = read_can_link(adapter.channel)
    except LinkError:  # what /sys says is all there is then
        link = None
    if not adapter.is_up:
        setting = f" type can bitrate {_BITRATE}` with your bus's bit rate" if adapter.driver else "`"
        return Plugged(adapter, "down", link, f"run `sudo ip link set {adapter.channel} up{setting}")
    state = "up" if link is None or link.state is None else link.state
    return Plugged(adapter, f"{state}, listen-only" if link is not None and link.listen_only else state, link)


def _serial_port(adapter: Adapter) -> Plugged:
    from edge_agent.bus.slcan_port import users_of  # noqa: PLC0415 - pyserial, for this alone

    channel = adapter.channel
    if not os.access(channel, os.F_OK):
        return Plugged(adapter, "not in /dev", remedy="pass the device into the container, or start udev")
    if not os.access(channel, os.R_OK | os.W_OK):
        remedy = "run `sudo usermod -aG dialout $USER` and log in again"
        return Plugged(adapter, "not permitted", remedy=remedy)
    users = list(users_of(channel))
    if not users:  # those of others are seen by root alone
        return Plugged(adapter, "free" if os.geteuid() == 0 else "accessible")
    is_agent = all(user.startswith(_AGENT) for user in users)
    remedy = "" if is_agent else "if that is not the agent, stop it before the agent is to use the port"
    return Plugged(adapter, f"used by {', '.join(users)}", remedy=remedy)


def _has_socketcan() -> bool:
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW).close()
    except OSError as error:
        return error.errno not in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)
    return True
