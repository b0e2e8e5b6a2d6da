"""Whether a dongle could be read: looked at without the agent, and without a frame or command to the bus."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib import import_module
from typing import Final

from msgspec.structs import replace

from edge_agent.bus.driver_errors import open_failure, unknown_interface
from edge_agent.bus.opening import open_source
from edge_agent.bus.source import Source
from edge_agent.config.dongle import DongleSection
from edge_agent.diagnosis.diagnosis import Fact, silence_fact
from edge_agent.dongles.whereabouts import Whereabouts
from edge_agent.errors import LinkError, SourceError
from edge_agent.host.adapter import Adapter
from edge_agent.host.can_link import CanLink, read_can_link
from edge_agent.host.clock import Clock

LISTEN_SECONDS: Final = 2.0
_CHECK_THE_BUS: Final = "check `bitrate`, the wiring and the termination (120 ohm at both ends)"
_STATES: Final = {
    "bus-off": ("bus_off", "is bus-off"),
    "error-passive": ("error_passive", "is error-passive"),
    "stopped": ("down", "is stopped"),
}


def dongle_facts(section: DongleSection, adapters: Sequence[Adapter], clock: Clock) -> Iterator[Fact]:
    """What keeps frames of this dongle from coming; `adapters` are those that are plugged in."""
    dongle_id = section.id
    assert dongle_id is not None
    try:
        section = _where_it_is(section, adapters)
        if section.interface == "socketcan":
            yield from _link_facts(section)
            with closing(open_source(section, clock)) as bus:
                if not _hears(bus, clock):
                    yield silence_fact(dongle_id, f"for the {LISTEN_SECONDS:g} s that were listened")
        elif section.interface == "slcan":
            from edge_agent.bus.slcan_port import SlcanPort  # noqa: PLC0415 - not for other dongles

            SlcanPort(section.channel, section.slcan_options().serial_baudrate, clock).close()
        elif section.interface == "log":
            open_source(section, clock).close()
        else:
            check_driver(section)
    except SourceError as error:
        yield Fact(error.fault, dongle_id, str(error))


def _where_it_is(section: DongleSection, adapters: Sequence[Adapter]) -> DongleSection:
    """With the channel that a `device_id` has now. Raises SourceError where it is not one adapter's."""
    if section.device_id is None:
        return section
    return replace(section, channel=Whereabouts(section).locate(adapters), device_id=None)


def _link_facts(section: DongleSection) -> Iterator[Fact]:
    assert section.id is not None
    try:
        link = read_can_link(section.channel)
    except LinkError as error:
        yield Fact("not_can", section.id, str(error))
        return
    if link is None or not link.is_up:
        return  # which opening it says, with the remedy
    if link.state in _STATES:
        fault, text = _STATES[link.state]
        yield Fact(fault, section.id, f"{section.channel} {text}: {_CHECK_THE_BUS}")
    if (wrong := _wrong_bitrate(section, link)) is not None:
        yield Fact("wrong_bitrate", section.id, wrong)


def _wrong_bitrate(section: DongleSection, link: CanLink) -> str | None:
    if section.bitrate is None or link.bitrate is None or section.bitrate == link.bitrate:
        return None
    down = f"sudo ip link set {section.channel} down"
    up = f"sudo ip link set {section.channel} up type can bitrate {section.bitrate}"
    has = (
        f"{section.channel} has a bit rate of {link.bitrate} bit/s, the configuration says {section.bitrate}"
    )
    return f"{has}: run `{down}; {up}`, or correct `bitrate`"


def _hears(bus: Source, clock: Clock) -> bool:
    """Whether anything came within `LISTEN_SECONDS`."""
    until_seconds = clock.monotonic_seconds() + LISTEN_SECONDS
    while (left_seconds := until_seconds - clock.monotonic_seconds()) > 0:
        if len(bus.read(left_seconds)):
            return True
    return False


def check_driver(section: DongleSection) -> None:
    """Only that it is installed: opening it may put the adapter on the bus. Raises SourceError."""
    logging.getLogger("can").setLevel(logging.ERROR)  # drivers warn of what does not matter here
    import can  # noqa: PLC0415 - not for other dongles
    from can.interfaces import BACKENDS  # noqa: PLC0415 - as above

    if section.interface not in can.VALID_INTERFACES:
        raise unknown_interface(section.interface, list(can.VALID_INTERFACES))
    try:
        import_module(BACKENDS[section.interface][0])
    except Exception as error:  # drivers raise what they like
        raise open_failure(error, section.interface, section.channel) from error
