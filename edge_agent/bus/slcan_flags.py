"""What the status flags of an slcan adapter mean to people (Lawicel CAN232 and CANUSB manuals)."""

from __future__ import annotations

from enum import IntFlag
from typing import Final


class AdapterFlag(IntFlag):
    """Bits of the answer to `F`."""

    RECEIVE_QUEUE_FULL = 1
    TRANSMIT_QUEUE_FULL = 2
    ERROR_WARNING = 4
    DATA_OVERRUN = 8
    ERROR_PASSIVE = 32
    ARBITRATION_LOST = 64
    BUS_ERROR = 128


LOSSES: Final = AdapterFlag.RECEIVE_QUEUE_FULL | AdapterFlag.DATA_OVERRUN

_CHECK_THE_BUS: Final = "check `bitrate`, the wiring and the termination (120 ohm at both ends)"
# The worst first. Arbitration is lost on every busy bus.
_TROUBLES: Final = (
    (
        LOSSES,
        "overrun",
        "the adapter has lost frames, nobody knows how many: its queue was full; "
        "raise `options.serial_baudrate` if it has a serial line, else use a faster adapter",
    ),
    (AdapterFlag.ERROR_PASSIVE, "error_passive", f"the adapter is error-passive; {_CHECK_THE_BUS}"),
    (
        AdapterFlag.ERROR_WARNING,
        "error_warning",
        f"the adapter sees many errors on the bus; {_CHECK_THE_BUS}",
    ),
    (AdapterFlag.BUS_ERROR, "bus_errors", f"the adapter sees errors on the bus; {_CHECK_THE_BUS}"),
    (
        AdapterFlag.TRANSMIT_QUEUE_FULL,
        "no_ack",
        "the adapter cannot send: nobody acknowledges; check that another node is on",
    ),
)


def trouble(flags: AdapterFlag) -> tuple[str, str] | None:
    """The fault that the worst of `flags` means, and what to do about it; None where all is well."""
    return next(((fault, text) for flag, fault, text in _TROUBLES if flags & flag), None)


_STATES: Final = {
    "a": AdapterFlag(0), "w": AdapterFlag.ERROR_WARNING, "p": AdapterFlag.ERROR_PASSIVE,
}  # fmt: skip


def trouble_of_state(state: str) -> tuple[str, str] | None:
    """The same for a controller's state by its letter: active, warning, passive, bus-off."""
    if state == "b":
        return (
            "bus_off",
            f"the adapter has left the bus after too many errors in what it sent; {_CHECK_THE_BUS}",
        )
    return trouble(_STATES[state])
