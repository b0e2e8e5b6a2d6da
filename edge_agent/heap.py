"""How the C library keeps memory for an agent of a few threads."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h of glibc
_GIVE_BACK_SECONDS: Final = 20.0


def share_one_heap() -> None:
    """One heap for all threads, instead of one for each that keeps what it once needed: 0.8 to 1 MB less with
    a bus and a spool. Without effect where the C library has no such setting (mallopt(3))."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


async def keep_small() -> None:
    """Gives back what is free between what is used, again and again, in about a millisecond (malloc_trim(3)).

    numpy keeps up to seven small blocks of each size, which come to lie scattered among larger ones: with the
    batches of a busy bus, which are never of the same size, the heap would grow by megabytes of holes.
    """
    library = ctypes.CDLL(None)
    while hasattr(library, "malloc_trim"):
        await asyncio.sleep(_GIVE_BACK_SECONDS)
        library.malloc_trim(0)
