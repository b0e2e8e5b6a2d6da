"""Disks that are small, full, late, gone or exchanged: real mounts where this user may mount."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path


@cache
def may_mount() -> bool:
    """Whether this user may, here."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return not subprocess.run(command, capture_output=True, check=False).returncode


class SmallDisk:
    """A tmpfs at `place`; only where one may mount."""

    def __init__(self, place: Path, megabytes: int) -> None:
        self._place, self._bytes = place, megabytes << 20
        place.mkdir(exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={self._bytes}", "none", str(place))

    def fill(self) -> None:
        """It has not one byte more than is on it now."""
        self._resize(1)

    def empty(self) -> None:
        """There is room again."""
        self._resize(self._bytes)

    def close(self) -> None:
        """It is gone, with what is on it."""
        _run("umount", "--lazy", str(self._place))

    def _resize(self, wanted: int) -> None:
        """To what is wanted, or to what is used where that is more: others write meanwhile."""
        while True:
            now = os.statvfs(self._place)
            used = (now.f_blocks - now.f_bfree) * now.f_frsize
            command = ["mount", "-o", f"remount,size={max(wanted, used)}", str(self._place)]
            if not subprocess.run(command, capture_output=True, check=False).returncode:
                return


class Slot:
    """Where an agent looks for its disk, `place`; `card` is its own, other directories are others.

    Without mounts a directory is renamed instead, which is the same for whoever has a file in it open.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.card = place.with_name(f"{place.name}.card")
        self._beneath = place.with_name(f"{place.name}.beneath")
        self._disk: SmallDisk | None = None
        self._inserted: Path | None = None
        place.mkdir()
        self.card.mkdir()
        if may_mount():
            self._disk = SmallDisk(self.card, 8)
        self.insert(self.card)

    @property
    def disk(self) -> SmallDisk | None:
        """What the card is, where that can be full."""
        return self._disk

    def insert(self, card: Path) -> None:
        """It covers what was written here without one."""
        assert self._inserted is None
        if may_mount():
            _run("mount", "--bind", str(card), str(self.place))
        else:
            self.place.rename(self._beneath)
            card.rename(self.place)
        self._inserted = card

    def remove(self) -> None:
        """At once, whoever has a file on it open; what it covered is seen again."""
        assert self._inserted is not None
        if may_mount():
            _run("umount", "--lazy", str(self.place))
        else:
            self.place.rename(self._inserted)
            self._beneath.rename(self.place)
        self._inserted = None

    def copy(self, target: Path) -> None:
        """Of the card, as it is now."""
        shutil.copytree(self.place, target)

    def close(self) -> None:
        """Nothing is mounted any more."""
        if self._inserted is not None:
            self.remove()
        if self._disk is not None:
            self._disk.close()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
