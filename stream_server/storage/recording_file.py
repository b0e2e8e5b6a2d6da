"""`recording.sqlite3` at a start: made, brought up to date, or begun anew beside a damaged one."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from stream_server import clock
from stream_server.errors import StartError
from stream_server.storage import kept_facts, migrations
from stream_server.storage.database import open_engine
from stream_server.storage.files import NEW, begin_file, settle, sync_directory
from stream_server.storage.health import damage_at_start, damage_of_log, is_damage
from stream_server.storage.setting_aside import forget_oldest, free_name, set_aside

_logger: Final = logging.getLogger(__name__)


def prepare_recording(recording: Path, *, known_damage: str | None = None) -> None:
    """Leave a recording that can be written, of the present schema. Needs the directory's lock. StartError.

    `known_damage`: what a running server has found; else the file is looked at.
    """
    new = recording.with_name(f"{recording.name}{NEW}")
    _finish_setting_aside(recording, new)
    if not recording.exists():
        begin_file(recording, migrations.RECORDING)
        return
    reason = known_damage or damage_of_log(recording) or damage_at_start(recording)
    if reason is None:
        try:
            migrations.upgrade(recording, migrations.RECORDING)
        except StartError as error:
            if not is_damage(error.__cause__):
                raise
            reason = str(error.__cause__)
    if reason is not None:
        _begin_anew(recording, new, reason)


def _begin_anew(recording: Path, new: Path, reason: str) -> None:
    aside = free_name(recording, datetime.fromtimestamp(clock.wall_ns() / 1e9, UTC))
    new.unlink(missing_ok=True)
    migrations.upgrade(new, migrations.RECORDING)
    engine = open_engine(new)
    mark = json.dumps({"file": aside.name, "reason": reason})
    with engine.begin() as connection:
        kept_facts.put(connection, kept_facts.SALVAGE, mark)
    engine.dispose()
    settle(new)
    _logger.error(
        "the recording is damaged (%s): it is set aside as %s, and what can be read goes into a new one",
        reason,
        aside.name,
    )
    _change_places(recording, new, aside)
    forget_oldest(recording.parent)


def _finish_setting_aside(recording: Path, new: Path) -> None:
    """Go on where a kill has interrupted it."""
    aside = _named_aside(new) if new.exists() else None
    if aside is not None and aside.exists() and (not recording.exists() or recording.samefile(aside)):
        _change_places(recording, new, aside)


def _change_places(recording: Path, new: Path, aside: Path) -> None:
    set_aside(recording, aside, sync_directory)
    new.chmod(0o600)
    new.rename(recording)
    sync_directory(recording.parent)


def _named_aside(new: Path) -> Path | None:
    try:
        migrations.upgrade(new, migrations.RECORDING)
        engine = open_engine(new)
        with engine.begin() as connection:
            mark = kept_facts.get(connection, kept_facts.SALVAGE)
        engine.dispose()
        settle(new)
    except StartError:
        return None
    return None if mark is None else new.with_name(json.loads(mark)["file"])
