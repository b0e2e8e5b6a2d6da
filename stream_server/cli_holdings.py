"""The commands that look at what the recording holds, and give up what will never come."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import click
from msgspec import json
from msgspec.structs import replace
from sqlalchemy import Connection

from stream_server import clock
from stream_server.access import audit
from stream_server.config import ServerConfig
from stream_server.errors import StartError
from stream_server.fleet import registry
from stream_server.metrics import Metrics
from stream_server.recording import books, books_store, hole_keeper
from stream_server.recording.hole_keeper import HoleKeeper
from stream_server.recording.recorder import Recorder
from stream_server.storage import data_directory
from stream_server.storage.data_directory import AlreadyRunningError, DataDirectory, locked
from stream_server.storage.database import Database

_PATIENCE_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.2


def show_books(data_dir: Path, dongle_id: str, *, as_json: bool) -> bool:
    """Print the books of a dongle. Whether everything adds up. StartError for an unknown one."""
    directory = data_directory.existing(data_dir)
    found = directory.look_at_recording(partial(books_store.load, dongle_id=dongle_id))
    if not found.lanes and not directory.administer(partial(registry.dongle_rows, dongle_id=dongle_id)):
        raise StartError(f"there is no dongle {dongle_id!r}; the console and GET /api/v1/dongles list them")
    found = replace(found, unknown=directory.administer(_lost_recordings))
    click.echo(books.as_json(found) if as_json else books.as_text(found))
    return not found.differences


def _lost_recordings(connection: Connection) -> list[str]:
    """Of what the recordings before this one held, as far as nobody knows it."""
    out = []
    for record in audit.of_action(connection, "recording.damaged"):
        after = json.decode(record.after)
        if after["lanes"] and after.get("is_sure", True):
            continue
        when = datetime.fromtimestamp(record.at_ns // 1_000_000_000, UTC)
        how = "in part" if after["lanes"] else "not at all"
        out.append(
            f"a damaged recording was set aside at {when:%Y-%m-%d %H:%M} UTC and could be read {how}: what "
            f"it had of this dongle is not all in these books ({record.subject.removeprefix('file:')})"
        )
    return out


def close_holes(data_dir: Path, agent_id: str, actor: str) -> int:
    """Give up what is known of an agent's frames and not here. How many they are. StartError.

    A server that runs on the directory does it, and knows of it; where none runs it is done here.
    """
    directory = data_directory.existing(data_dir)
    rows, _ = directory.administer(partial(registry.agent_rows, agent_id=agent_id))
    if not rows:
        raise StartError(
            f"there is no agent {agent_id!r}; name the agent, not its dongle: GET /api/v1/agents lists them"
        )
    ids = [row.dongle_id for row in rows if row.dongle_id is not None]
    number = directory.administer_recording(partial(hole_keeper.ask_to_close, dongle_ids=ids))
    frames = _answer(directory, number)
    now_ns = clock.wall_ns()

    def record(connection: Connection) -> None:
        subject, after = f"agent:{agent_id}", {"frames": frames}
        audit.record(connection, now_ns, actor=actor, action="holes.close", subject=subject, after=after)

    directory.administer(record)
    return frames


def _answer(directory: DataDirectory, number: int) -> int:
    give_up_at = clock.monotonic_seconds() + _PATIENCE_SECONDS
    while (frames := directory.administer_recording(partial(hole_keeper.take_answer, number=number))) is None:
        if clock.monotonic_seconds() > give_up_at:
            raise StartError("the server that runs has not closed the holes yet; it will as soon as it can")
        try:
            with locked(directory.path, patience_seconds=_LOOK_SECONDS):
                asyncio.run(_close_here(directory))
        except AlreadyRunningError:
            continue  # it looks every second
    return frames


async def _close_here(directory: DataDirectory) -> None:
    recording = Database(directory.recording_path)
    try:
        running = await hole_keeper.load_running_time(recording)
        recorder = Recorder(recording, Metrics(), lambda: running.at(clock.monotonic_seconds()))
        max_age_seconds = ServerConfig().holes.max_age_seconds
        await HoleKeeper(recording, recorder, running, max_age_seconds).close_asked()
    finally:
        await recording.close()
