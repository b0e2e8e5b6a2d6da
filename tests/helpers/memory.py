"""What a process holds in memory, without what depends on who wrote its libraries and when."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

# The libraries of numpy are nine tenths of what an agent maps and hardly uses.
_LIBRARIES: Final = ("numpy", "numpy.libs")


class Resident(msgspec.Struct, frozen=True):
    """The largest resident set so far, the present one, and what of that is files, in bytes (proc(5))."""

    most: int
    now: int
    files: int

    @property
    def anonymous(self) -> int:
        """What no other process shares and no file can give back."""
        return self.most - self.files


def resident(pid: int) -> Resident:
    """Of a running process."""
    status = Path(f"/proc/{pid}/status").read_text()
    kib = {name: int(count) for name, count in re.findall(r"^(\w+):\s+(\d+) kB$", status, re.MULTILINE)}
    return Resident(kib["VmHWM"] * 1024, kib["VmRSS"] * 1024, (kib["RssFile"] + kib["RssShmem"]) * 1024)


def libraries_as_after_a_boot(directory: Path) -> Path:
    """A copy of what is mapped most, to come first in PYTHONPATH, that is read back from the disk.

    Whoever maps a page gets those around it that are cached. A library that pip has just written a megabyte
    at a time is cached whole and in large pieces: until its pages have been dropped and read again a process
    that maps it counts 6 MB more, which are no other memory than that cache.
    """
    installed = Path(np.__file__).parents[1]
    for name in _LIBRARIES:
        if (installed / name).is_dir():
            shutil.copytree(installed / name, directory / name)
    for library in directory.rglob("*.so*"):
        with library.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return directory
