"""Holes that nobody lists any more: after days of running they become gaps, or when an operator says so."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from stream_server import clock
from stream_server.errors import StorageError
from stream_server.recording import openings, retention_store, start_store
from stream_server.recording.recorder import Recorder
from stream_server.recording.running_time import RunningTime
from stream_server.storage import kept_facts
from stream_server.storage.database import Database
from stream_server.storage.recording_schema import hole_closings

PERIOD_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 1.0
FOREVER: Final = float("inf")
"""Later than any hello: every hole."""
_logger: Final = logging.getLogger(__name__)


async def load_running_time(recording: Database) -> RunningTime:
    """The server starts to count anew where it was; what a kill has cost the count shows in the holes."""

    def read(connection: Connection) -> float:
        stored = float(kept_facts.get(connection, kept_facts.RUNNING_SECONDS) or 0.0)
        return max(stored, start_store.newest_hole_seconds(connection))

    return RunningTime(await recording.read(read), clock.monotonic_seconds())


class HoleKeeper:
    """Looks every minute, and every second whether an operator wants holes closed."""

    def __init__(
        self, recording: Database, recorder: Recorder, running: RunningTime, max_age_seconds: float
    ) -> None:
        self._recording = recording
        self._recorder = recorder
        self._running = running
        self._max_age_seconds = max_age_seconds

    async def run(self) -> None:
        """Until cancelled."""
        due_seconds = 0.0
        while True:
            try:
                await self.close_asked()
                if clock.monotonic_seconds() >= due_seconds:
                    await self.keep()
                    due_seconds = clock.monotonic_seconds() + PERIOD_SECONDS
            except StorageError as error:
                _logger.warning("holes wait: %s", error)
            except Exception:
                # A file that cannot be read now must not end this for ever.
                _logger.exception("holes wait")
            await asyncio.sleep(LOOK_SECONDS)

    async def keep(self) -> int:
        """Store how long the server has run; give up what is too old. How many frames that is.

        Starts and gaps of which a lane has too many are forgotten.
        """
        now_seconds = self._running.at(clock.monotonic_seconds())
        text = repr(now_seconds)
        await self._recording.write(lambda c: kept_facts.put(c, kept_facts.RUNNING_SECONDS, text))
        for lane_key in await self._recording.read(retention_store.crowded_lanes):
            gone = await self._recorder.forget(lane_key)
            if any(gone):
                _logger.warning(
                    "%s (%s): %d starts of before, of which nothing is recorded, and %d gaps are forgotten: "
                    "there were too many", *lane_key, *gone,
                )  # fmt: skip
        return await self._give_up(now_seconds - self._max_age_seconds, None) or 0

    async def close_asked(self) -> None:
        """Do what the command line has asked for, and say how many frames it was."""
        for row in await self._recording.read(_asked):
            frames = await self._give_up(FOREVER, frozenset(msgspec.json.decode(row.dongle_ids)))
            if frames is not None:
                await self._recording.write(partial(_answer, number=row.id, frames=frames))

    async def _give_up(self, listed_before_seconds: float, dongle_ids: frozenset[str] | None) -> int | None:
        """Frames that have become gaps; None where a lane was just being opened."""
        lanes = await self._recording.read(lambda c: openings.lanes_with_holes(c, listed_before_seconds))
        frames: list[int | None] = []
        for dongle_id, lane in lanes:
            if dongle_ids is None or dongle_id in dongle_ids:
                key = (dongle_id, lane)
                frames.append(await self._recorder.give_up_holes(key, listed_before_seconds))
        return None if None in frames else sum(one or 0 for one in frames)


def _asked(connection: Connection) -> list[Row[Any]]:
    query = select(hole_closings).where(hole_closings.c.frames.is_(None))
    return list(connection.execute(query.order_by(hole_closings.c.id)))


def _answer(connection: Connection, number: int, frames: int) -> None:
    connection.execute(update(hole_closings).where(hole_closings.c.id == number).values(frames=frames))


def ask_to_close(connection: Connection, dongle_ids: list[str]) -> int:
    """A wish for `close_asked`. Returns its number."""
    text = msgspec.json.encode(dongle_ids).decode()
    made = connection.execute(insert(hole_closings).values(dongle_ids=text).returning(hole_closings.c.id))
    number: int = made.scalar_one()
    return number


def take_answer(connection: Connection, number: int) -> int | None:
    """How many frames the wish has closed, which is then forgotten; None while nobody has fulfilled it."""
    row = hole_closings.c.id == number
    frames: int | None = connection.execute(select(hole_closings.c.frames).where(row)).scalar_one()
    if frames is not None:
        connection.execute(delete(hole_closings).where(row))
    return frames
