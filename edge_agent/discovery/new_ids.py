"""Discoveries of ids never seen on a bus before, over restarts too: the file, and the pace of telling."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from can_stream.frames.batches import FrameBatch
from edge_agent.discovery.seen_ids import (
    MAX_FILE_BYTES,
    MAX_IDS,
    BusId,
    BusIds,
    SeenIds,
    decode_seen,
    encode_seen,
)
from edge_agent.host.clock import Clock
from edge_agent.host.state_directory import write_whole

WRITE_SECONDS: Final = 60.0
TELL_SECONDS: Final = 0.5
TOLD_AT_ONCE: Final = 10
_logger: Final = logging.getLogger(__name__)


class NewIds:
    """Tells `tell` of each id that a bus shows for the first time ever, at most 20 a second; again where it
    says False.

    What was seen lies in `path`, written at most once a minute; None: it is forgotten with the process.
    """

    def __init__(self, path: Path | None, tell: Callable[[str, BusId], bool], clock: Clock) -> None:
        self._path = path
        self._tell = tell
        self._clock = clock
        self._earlier = {} if path is None else _read(path)
        self._buses: dict[str, SeenIds] = {}
        self._waiting: deque[tuple[str, BusId]] = deque()
        self._unwritten = False
        self._written_at_seconds = float("-inf")

    def look(self, dongle_id: str, frames: FrameBatch) -> None:
        """Frames of a bus, all of them; cheap where nothing in them is new."""
        seen = self._buses.get(dongle_id)
        if seen is None:
            seen = self._buses[dongle_id] = SeenIds(self._earlier.get(dongle_id))
        new = seen.new_in(frames)
        if not new:
            return
        self._unwritten = True
        self._waiting.extend((dongle_id, one) for one in new)
        if seen.is_full:
            _logger.warning(
                "%s: %d arbitration ids were seen on this bus, further ones are not told",
                dongle_id, MAX_IDS, extra={"dongle_id": dongle_id},
            )  # fmt: skip

    async def run(self) -> None:
        """Tells and writes, until cancelled."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            for _ in range(min(TOLD_AT_ONCE, len(self._waiting))):
                if not self._tell(*self._waiting[0]):
                    break
                self._waiting.popleft()
            now_seconds = self._clock.monotonic_seconds()
            # Not before they are told: those that are not would never be.
            if (
                self._unwritten
                and not self._waiting
                and now_seconds >= self._written_at_seconds + WRITE_SECONDS
            ):
                self._written_at_seconds = now_seconds
                self.write()

    def write(self) -> None:
        """Keeps what was seen; a fault is said and costs nothing else."""
        if self._path is None or not self._unwritten or self._waiting:
            return
        self._unwritten = False
        try:
            write_whole(self._path, encode_seen(self._buses, self._earlier))
        except OSError as error:
            _logger.warning(
                "%s cannot be written (%s): after a restart all ids of the buses are told again",
                self._path, error.strerror,
            )  # fmt: skip


def _read(path: Path) -> dict[str, BusIds]:
    """What an earlier start has seen; a file that is none is set aside and said."""
    try:
        with path.open("rb") as file:
            return decode_seen(file.read(MAX_FILE_BYTES + 1))
    except FileNotFoundError:
        return {}
    except OSError as error:
        _logger.warning("%s cannot be read: %s", path, error.strerror)
    except ValueError as error:
        aside = path.with_name(f"{path.name}.broken")
        with contextlib.suppress(OSError):
            path.replace(aside)
        _logger.warning("%s was not readable (%s) and is now %s", path, error, aside.name)
    return {}
