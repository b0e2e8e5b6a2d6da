"""What is to be said of the times of logs: those without a date, and those whose dates name no zone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Final

import numpy as np

from can_stream.logs.books import LogBooks
from can_stream.text.frame_json import time_texts

_SHOWN_PATHS: Final = 3


def time_notes(books: Sequence[LogBooks], start_time_ns: int | None) -> Iterator[str]:
    """One sentence for each thing that is to be known, with what to do about it."""
    undated = [book for book in books if not book.has_date]
    untimed = [book for book in undated if not book.has_timestamps]
    counting = [book for book in undated if book.has_timestamps]
    if untimed:
        when = "dated 1970: see --start-time" if start_time_ns is None else "dated as --start-time says"
        yield f"{_named(untimed)} holds no times: its frames are played at once, and {when}"
    if start_time_ns is None and counting:
        first = time_texts(np.array([counting[0].first_ns])).tobytes().decode()
        yield (
            f"{_named(counting)}: its times have no date, they count from 1970 (the first is {first}): "
            "give the time of the first frame with --start-time"
        )
    if start_time_ns is not None and not undated and any(book.frames for book in books):
        yield "--start-time is not used: the times of these logs have a date"
    if local := [book for book in books if book.is_local and book.first_ns is not None]:
        yield (
            f"{_named(local)}: its dates name no zone and are taken as local time of this computer"
            f"{_zone(local[0])}: run the command with TZ=Europe/Berlin or the like before it for another zone"
        )


def _named(books: Sequence[LogBooks]) -> str:
    paths: list[PurePath] = [book.path for book in books]
    more = len(paths) - _SHOWN_PATHS
    return ", ".join(map(str, paths[:_SHOWN_PATHS])) + (f" and {more} more" if more > 0 else "")


def _zone(book: LogBooks) -> str:
    """The zone that the log begins in, "" where that cannot be said."""
    try:
        local = datetime.fromtimestamp((book.first_ns or 0) / 1e9).astimezone()
    except (ValueError, OverflowError, OSError):
        return ""
    return f" ({local:%Z}, UTC{local:%z})" if local.tzname() != "UTC" else " (UTC)"
