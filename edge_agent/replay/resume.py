"""The place of an interrupted replay, kept in a file: its start id, and what exactly it replays."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from can_stream.logs.log_reader import open_log
from can_stream.protocol.identity import StartId
from can_stream.signals.table import SignalTable
from edge_agent.errors import ReplayError
from edge_agent.logs.selection import Selection
from edge_agent.uplink.hello import new_start_id

# Raised when a reader finds other frames than before in the same log, or calls their channels otherwise.
_READERS: Final = dict.fromkeys(("asc", "blf", "csv", "mf4", "trc"), 2)
_MAX_RESUME_BYTES: Final = 64 * 1024


class _Resume(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a resume file."""

    start_id: StartId
    replays: str


def resumed_start_id(
    path: Path, selection: Selection, agent_id: str, flush_seconds: float, table: SignalTable | None = None
) -> str:
    """The start id of an interrupted replay of exactly this, or a new one, kept in `path`. ReplayError."""
    replays = _fingerprint(selection, agent_id, flush_seconds, table)
    try:
        content = path.read_bytes()[:_MAX_RESUME_BYTES]
    except FileNotFoundError:
        resume = _Resume(new_start_id(), replays)
        _write_durably(path, msgspec.json.encode(resume))
        return resume.start_id
    except OSError as error:
        raise ReplayError(f"{path} cannot be read: {error.strerror}") from error
    try:
        resume = msgspec.json.decode(content, type=_Resume)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ReplayError(f"{path} is no resume file ({error}); name another") from error
    if resume.replays != replays:
        raise ReplayError(
            f"{path} belongs to another replay: the same logs, databases, selection, agent id and flush time "
            "are needed, and a release that reads the logs alike"
        )
    return resume.start_id


def _fingerprint(selection: Selection, agent_id: str, flush_seconds: float, table: SignalTable | None) -> str:
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in selection.paths]
    parts = (
        files,
        selection.start,
        selection.end,
        list(selection.ids),
        sorted(selection.channels.items()),
        agent_id,
        flush_seconds,
        *([] if table is None else [table.hash]),
        *([] if selection.start_time_ns is None else [selection.start_time_ns]),
        *_readers(selection.paths),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _readers(paths: Sequence[Path]) -> list[tuple[str, int]]:
    """Of the formats whose frames another release may number otherwise, which the logs have."""
    formats = set()
    for path in paths:
        log = open_log(path)
        log.close()
        formats.add(log.format)
    return [(name, _READERS[name]) for name in sorted(formats) if name in _READERS]


def _write_durably(path: Path, content: bytes) -> None:
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path)
    except OSError as error:
        raise ReplayError(f"{path} cannot be written: {error.strerror}") from error
