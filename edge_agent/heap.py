"""How the C library keeps memory for an agent of a few threads."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h of glibc


def share_one_heap() -> None:
    """One heap for all threads, instead of one for each that keeps what it once needed: 0.8 to 1 MB less with
    a bus and a spool. Without effect where the C library has no such setting (mallopt(3))."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
