"""Whether a time service keeps this machine's wall clock right, as the kernel or systemd knows it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Final

_TIMESYNCD_FLAG: Final = Path("/run/systemd/timesync/synchronized")
# The kernel's estimate grows by 500 us/s while nobody disciplines the clock and stops at 16 s; below
# that, somebody does. timedatectl judges by the same limit (systemd, src/basic/time-util.c).
_UNSYNCHRONISED_ERROR_US: Final = 16_000_000


def is_synchronised() -> bool:
    """Whether a time service keeps the wall clock right; False where that cannot be known."""
    error_us = _kernel_clock_error_us()
    if error_us is None:
        return _TIMESYNCD_FLAG.exists()
    return error_us < _UNSYNCHRONISED_ERROR_US


class _Timex(ctypes.Structure):
    """The beginning of `struct timex` (adjtimex(2)), with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_long * 64),
    )


# Loaded once: each time it makes types that the garbage collector takes long to come by.
_library: Final = ctypes.CDLL(None, use_errno=True)


def _kernel_clock_error_us() -> int | None:
    timex = _Timex()  # modes 0: read only, needs no privilege
    try:
        result = _library.adjtimex(ctypes.byref(timex))
    except AttributeError:
        return None
    return int(timex.maxerror) if result >= 0 else None
