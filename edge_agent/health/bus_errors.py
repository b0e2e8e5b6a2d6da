"""What the kernel's error frames say, counted by class in columns.

Classes and details: linux/can/error.h.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from can_stream.frames.batches import FrameBatch, FrameFlag


class ErrorClass(IntFlag):
    """Bits of an error frame's id."""

    TX_TIMEOUT = 0x001
    ARBITRATION_LOST = 0x002
    CONTROLLER = 0x004
    PROTOCOL = 0x008
    TRANSCEIVER = 0x010
    NO_ACK = 0x020
    BUS_OFF = 0x040
    BUS_ERROR = 0x080
    RESTARTED = 0x100
    COUNTERS = 0x200


# CAN_ERR_CRTL_*, in data[1]
_RX_OVERFLOW: Final = 0x01
_WARNING: Final = 0x04 | 0x08
_PASSIVE: Final = 0x10 | 0x20
_ACTIVE: Final = 0x40
# CAN_ERR_PROT_LOC_ACK, in data[3]
_ACKNOWLEDGE_SLOT: Final = 0x19
# CAN_ERR_TRX_*, in data[4]: each half says what is the matter with a wire.
_WIRES: Final = ((0x0F, "CANH"), (0xF0, "CANL"))
_WIRE_FAULTS: Final = {
    4: "has no contact", 5: "touches the battery", 6: "touches the supply", 7: "touches ground",
    8: "touches CANH",
}  # fmt: skip

_STATES: Final = ("error-active", "error-warning", "error-passive", "bus-off")


class ErrorNews(Struct, frozen=True):
    """What the error frames of a batch say.

    `by_class`: frames by the names of `ErrorClass`, those that came; a frame may be of several.
    `violations`: those of a frame on the bus that was not as it must be. `overflows`: those that say that the
    controller lost frames of the bus, `overflow_rows` the first and the last.
    `worst_state` and `last_state` are of `can_link.STATES`, None where no frame says any. `is_bus_off_over`:
    frames of the bus came, after `last_state` where there is one. `wires`: what the transceiver says of
    them, or "".
    """

    frames: int
    by_class: dict[str, int]
    violations: int
    overflows: int
    overflow_rows: tuple[int, int]
    worst_state: str | None
    last_state: str | None
    is_bus_off_over: bool
    wires: str


def read_errors(batch: FrameBatch) -> ErrorNews | None:
    """What the error frames in `batch` say; None where there are none."""
    rows = np.flatnonzero(batch.flags & FrameFlag.ERROR)
    if not len(rows):
        return None
    classes, data = batch.arbitration_id[rows], batch.data[rows]
    no_ack = _has(classes, ErrorClass.NO_ACK) | _at_acknowledge_slot(classes, data)
    by_class = {str(one.name).lower(): _has(classes, one) for one in ErrorClass} | {"no_ack": no_ack}
    violations = (by_class["protocol"] | by_class["bus_error"]) & ~no_ack
    is_overflow = _has(classes, ErrorClass.CONTROLLER) & ((data[:, 1] & _RX_OVERFLOW) != 0)
    overflows = rows[is_overflow]
    states = _states(classes, data)
    said = np.flatnonzero(states >= 0)
    return ErrorNews(
        frames=len(rows),
        by_class={name: count for name, which in by_class.items() if (count := int(which.sum()))},
        violations=int(violations.sum()),
        overflows=len(overflows),
        overflow_rows=(int(overflows[0]), int(overflows[-1])) if len(overflows) else (0, 0),
        worst_state=_STATES[states.max()] if len(said) else None,
        last_state=_STATES[states[said[-1]]] if len(said) else None,
        is_bus_off_over=hears_the_bus(batch[rows[said[-1]] + 1 :] if len(said) else batch),
        wires=_wires(data[_has(classes, ErrorClass.TRANSCEIVER), 4]),
    )


def hears_the_bus(batch: FrameBatch) -> bool:
    """Whether `batch` has a frame that came over the bus: no error frame, and no own one."""
    return bool((batch.flags & (FrameFlag.ERROR | FrameFlag.TX) == 0).any())


def _has(classes: NDArray[np.uint32], one: ErrorClass) -> NDArray[np.bool_]:
    has: NDArray[np.bool_] = (classes & one) != 0
    return has


def _at_acknowledge_slot(classes: NDArray[np.uint32], data: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Drivers that know where in the frame the error was say this instead of NO_ACK."""
    return _has(classes, ErrorClass.PROTOCOL) & np.equal(data[:, 3], _ACKNOWLEDGE_SLOT)


def _states(classes: NDArray[np.uint32], data: NDArray[np.uint8]) -> NDArray[np.int8]:
    """The index in `_STATES` that each error frame says; -1 where it says none."""
    problems = np.where(_has(classes, ErrorClass.CONTROLLER), data[:, 1], np.uint8(0))
    is_active = _has(classes, ErrorClass.RESTARTED) | ((problems & _ACTIVE) != 0)
    cases = [
        _has(classes, ErrorClass.BUS_OFF),
        (problems & _PASSIVE) != 0,
        (problems & _WARNING) != 0,
        is_active,
    ]
    return np.select(cases, [3, 2, 1, 0], -1).astype(np.int8)


def _wires(said: NDArray[np.uint8]) -> str:
    if not len(said):
        return ""
    last = int(said[-1])
    faults = [(name, _WIRE_FAULTS.get((last & mask) // (mask & -mask))) for mask, name in _WIRES]
    return " and ".join(f"{name} {fault}" for name, fault in faults if fault) or "a wire is at fault"
