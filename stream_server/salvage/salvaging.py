"""Runs a salvage to its end, before the server takes requests."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError

from stream_server import clock
from stream_server.errors import StartError
from stream_server.salvage.salvage import Salvage, has_room, mark
from stream_server.salvage.salvage_books import close_books
from stream_server.storage import kept_facts
from stream_server.storage.damaged_file import DamagedFile
from stream_server.storage.database import open_engine
from stream_server.storage.recording_schema import lanes, packets

_TOLD_SECONDS: Final = 10.0
_logger: Final = logging.getLogger(__name__)


def salvage(recording: Path, tell: Callable[[str], None]) -> None:
    """Take over what a damaged file beside `recording` holds, where one is to be read. StartError.

    `tell` is told every few seconds how far it is.
    """
    engine = open_engine(recording, foreign_keys=False)
    try:
        with engine.begin() as connection:
            what = mark(connection)
        if what is None:
            return
        unread = _take_over(engine, recording.with_name(what["file"]), what, tell)
        with engine.begin() as connection:
            lost = close_books(connection, totals_lost=what.get("totals_lost", False))
            known = connection.execute(select(func.count()).select_from(lanes)).scalar_one()
            report = {name: what[name] for name in ("file", "reason")}
            is_sure = not what.get("totals_lost") and not what.get("starts_lost")
            report |= {"lanes": known, "unread_pages": unread, "lost": lost, "is_sure": is_sure}
            kept_facts.put(connection, kept_facts.DAMAGE_REPORT, msgspec.json.encode(report).decode())
            last_id = connection.execute(select(func.coalesce(func.max(packets.c.id), 0))).scalar_one()
            kept_facts.put(connection, kept_facts.BLOCKS_DUE, str(last_id))
            kept_facts.remove(connection, kept_facts.SALVAGE)
    except DBAPIError as error:
        raise StartError(f"what is damaged cannot be read into {recording}: {error.orig}") from error
    finally:
        engine.dispose()


def _take_over(engine: Engine, damaged: Path, what: dict[str, Any], tell: Callable[[str], None]) -> int:
    """Returns how many pages were left unread."""
    if not damaged.exists():
        _logger.error("%s is gone; nothing of it can be taken over", damaged)
        return 0
    with DamagedFile(damaged) as file:
        with engine.begin() as connection:
            taking = Salvage.begin(connection, file)
            page = int(what.get("page", 0))
            if not page:
                what |= taking.take_state(connection)._asdict()
            taking.load_starts(connection)
        told_at = clock.monotonic_seconds()
        page = max(page, 1)
        while page <= file.pages:
            if not has_room(damaged.parent):
                _logger.error("the disk has no room for more of %s: the rest stays there", damaged)
                return file.pages + 1 - page
            with engine.begin() as connection:
                page = taking.take_packets(connection, page)
                kept_facts.put(connection, kept_facts.SALVAGE, json.dumps({**what, "page": page}))
            if clock.monotonic_seconds() - told_at > _TOLD_SECONDS:
                told_at = clock.monotonic_seconds()
                text = f"reads the damaged recording: page {page - 1} of {file.pages}"
                _logger.info("%s", text)
                tell(text)
    return 0
