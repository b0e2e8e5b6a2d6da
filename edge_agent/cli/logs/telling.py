"""What commands that play or decode logs say of them: their books, what was unreadable, and their times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from can_stream.command_line.parameters import Parsed
from can_stream.logs.books import LogBooks
from can_stream.logs.log_blocks import LogProblem
from can_stream.text.foreign import shown
from edge_agent.cli.parameters import tell_unreadable, warn
from edge_agent.logs.selection import parse_start_time
from edge_agent.logs.time_notes import time_notes

start_time_option = click.option(
    "--start-time",
    "start_time_ns",
    type=Parsed("TIME", parse_start_time),
    help="When the first frame of a log without a date was: a UTC time, or one with its zone "
    "(2025-01-05T08:00:00+01:00).",
)


def tell_logs(books: Sequence[LogBooks], problems: Sequence[LogProblem], start_time_ns: int | None) -> None:
    """On standard error: a line for each log, what could not be read, and what its times are."""
    for book in books:
        click.echo(shown(str(book)), err=True)
    tell_faults(books, problems, start_time_ns)


def tell_faults(books: Sequence[LogBooks], problems: Sequence[LogProblem], start_time_ns: int | None) -> None:
    """The same without the books."""
    tell_unreadable(sum(book.unreadable for book in books), problems)
    for note in time_notes(books, start_time_ns):
        warn(note)


def are_whole(books: Sequence[LogBooks]) -> bool:
    """Whether something could be read wherever there was anything, to the end of each log."""
    is_no_log = not any(book.frames for book in books) and any(book.unreadable for book in books)
    return not is_no_log and not any(book.is_cut for book in books)


def all_others(books: Sequence[LogBooks]) -> Mapping[str, int]:
    """What of all logs was no frame, by kind."""
    others: dict[str, int] = {}
    for book in books:
        for kind, count in book.others.items():
            others[kind] = others.get(kind, 0) + count
    return others


def books_json(books: Sequence[LogBooks]) -> dict[str, Any]:
    """For the last line of a command, which is JSON."""
    return {"unreadable": sum(book.unreadable for book in books), "others": all_others(books)}
