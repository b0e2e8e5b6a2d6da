"""What is told of the files and of the clock: damage, a backup that was restored, a jump."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, Final

from sqlalchemy import Connection

from can_stream.protocol.control import ROWS_OF_LANE
from can_stream.text.timestamps import format_timestamp
from stream_server import clock
from stream_server.access import audit
from stream_server.errors import StartError
from stream_server.storage import health, kept_facts
from stream_server.storage.database import Database

_logger: Final = logging.getLogger(__name__)


async def tell_of_restore(database: Database) -> None:
    """That this is what a backup held goes into log and audit, once, and is remembered."""
    made_at = await database.read(lambda connection: kept_facts.get(connection, kept_facts.BACKUP_MADE_AT))
    if made_at is None:
        return
    made = format_timestamp(int(made_at) // 1000)
    _logger.warning("this is what a backup of %s held; what was stored after it is not here", made)
    now_ns = clock.wall_ns()

    def store(connection: Connection) -> None:
        audit.record(
            connection,
            now_ns,
            actor="server",
            action="storage.restored",
            subject="server",
            after={"backup_of": made},
        )
        kept_facts.remove(connection, kept_facts.BACKUP_MADE_AT)

    await database.write(store)


async def tell_of_damage(database: Database, recording: Database) -> None:
    """What the last salvage has found goes into log and audit, once."""
    text = await recording.read(lambda connection: kept_facts.get(connection, kept_facts.DAMAGE_REPORT))
    if text is None:
        return
    report = json.loads(text)
    for lost in report["lost"]:
        _logger.error("damaged recording: %s", _sentence(lost))
    if not report["lanes"]:
        _logger.error("damaged recording: nothing can be read of it; what was recorded until now is lost")
    elif not report.get("is_sure", True):
        _logger.error(
            "damaged recording: it no longer says how much was recorded and how much was deleted as too old; "
            "of what else is not here nobody knows which it is"
        )
    elif not report["lost"]:
        _logger.warning("damaged recording: nothing that was recorded is lost")
    now_ns = clock.wall_ns()

    def store(connection: Connection) -> None:
        audit.record(
            connection,
            now_ns,
            actor="server",
            action="recording.damaged",
            subject=f"file:{report['file']}",
            before={"reason": report["reason"]},
            after={name: report.get(name) for name in ("lanes", "lost", "is_sure", "unread_pages")},
        )

    await database.write(store)
    await recording.write(lambda connection: kept_facts.remove(connection, kept_facts.DAMAGE_REPORT))


def _sentence(lost: dict[str, Any]) -> str:
    rows = ROWS_OF_LANE[lost["lane"]]
    return (
        f"{lost['packets']} packets with {lost['frames']} {rows} of {lost['dongle_id']} are lost, "
        "unless their agent still has them"
    )


async def clock_news(database: Database, action: str, jump_seconds: float) -> None:
    """That the server's clock has jumped, or has settled, goes into the audit."""
    now_ns = clock.wall_ns()
    await database.write(
        lambda connection: audit.record(
            connection,
            now_ns,
            actor="server",
            action=action,
            subject="server",
            after={"jump_seconds": round(jump_seconds, 3)},
        )
    )


async def look_through(recording: Database) -> None:
    """Look once through a recording that is too large for it at the start."""
    if recording.path.stat().st_size <= health.CHECKED_AT_START_BYTES:
        return
    try:
        reason = await asyncio.to_thread(health.damage_anywhere, recording.path)
    except StartError as error:
        _logger.warning("the recording could not be looked through: %s", error)
        return
    if reason is not None:
        recording.found_damage(reason)
