"""How the C library and numpy keep memory: for an agent that runs for months, and for a command in a hurry.

What a batch needs lives for milliseconds and has another size each time. Where it lies between what lives
long in an agent, the heap gets holes that are never filled: 4 MB for each million frames of a live bus.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from functools import cache
from typing import Final

from numpy._core import multiarray

_M_TRIM_THRESHOLD: Final = -1  # malloc.h of glibc
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_LARGE_BYTES: Final = 32_768
_MAX_MMAP_THRESHOLD: Final = 32 << 20
_ALL_BYTES: Final = 2**31 - 1
_PYMEM_DOMAIN_MEM: Final = 1  # Python's pymem.h
_SET_HANDLER: Final = 304  # of the functions that numpy offers to C; their places are part of its ABI


class _Allocator(ctypes.Structure):
    """PyMemAllocatorEx, and numpy's PyDataMemAllocator: that one's `free` has a third argument, the size."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("ctx", "malloc", "calloc", "realloc", "free"))


class _Handler(ctypes.Structure):
    """PyDataMem_Handler of version 1."""

    _fields_ = (("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("allocator", _Allocator))


def share_one_heap() -> None:
    """One heap for all threads, instead of one for each that keeps what it once needed, and large blocks
    outside of it. Without effect where the C library has no such settings (mallopt(3))."""
    _set_malloc((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, _LARGE_BYTES))


def keep_freed_memory() -> None:
    """What is freed goes back to the system at the end of the process (above 32 MiB at once): to get pages
    for large arrays again and again takes longer than to work on them. Without effect as above."""
    _set_malloc((_M_MMAP_THRESHOLD, _MAX_MMAP_THRESHOLD), (_M_TRIM_THRESHOLD, _ALL_BYTES))


def _set_malloc(*settings: tuple[int, int]) -> None:
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in settings:
            mallopt(name, value)


def use_python_blocks() -> None:
    """Arrays that this thread makes from now on lie in Python's own blocks, where there are small ones.

    numpy would keep seven blocks of each size below 1,024 bytes, wherever in the heap they lie. Without
    effect where Python or numpy have no such way (PyMem_GetAllocator, NEP 49).
    """
    with contextlib.suppress(AttributeError, ValueError):
        _set_handler()()


@cache
def _set_handler() -> Callable[[], object]:
    python = ctypes.PyDLL(None)  # of our own: how these are called is said for all who share one
    python.PyCapsule_New.restype = ctypes.py_object
    python.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    handler, kind = _Handler(name=b"python_blocks", version=1), ctypes.create_string_buffer(b"mem_handler")
    python.PyMem_GetAllocator(_PYMEM_DOMAIN_MEM, ctypes.byref(handler.allocator))
    capsule = python.PyCapsule_New(ctypes.addressof(handler), ctypes.addressof(kind), None)
    functions = ctypes.cast(
        python.PyCapsule_GetPointer(multiarray._ARRAY_API, None),
        ctypes.POINTER(ctypes.c_void_p),
    )
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(functions[_SET_HANDLER])

    def use(_kept: tuple[object, ...] = (handler, kind)) -> object:
        return set_handler(capsule)

    return use
