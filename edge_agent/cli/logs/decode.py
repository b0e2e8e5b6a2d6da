"""The commands `edge-agent decode` and `edge-agent dbc lint`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import click

from can_stream.command_line.parameters import FileName, Parsed
from can_stream.databases.findings import Severity
from can_stream.databases.lint import lint as lint_files
from can_stream.databases.loading import load_databases
from can_stream.databases.options import DatabaseOptions
from can_stream.errors import CanStreamError
from can_stream.frames.batches import FrameBatch
from can_stream.signals.errors import TableError
from can_stream.signals.table import SignalTable
from can_stream.standard_streams import was_closed
from can_stream.text.frame_json import FrameOrigin, Origins
from edge_agent.cli.databases import DatabaseFile, Databases, database_option, said_options, tell_findings
from edge_agent.cli.logs.telling import are_whole, books_json, start_time_option, tell_faults, tell_logs
from edge_agent.cli.parameters import tell_unmatched, warn
from edge_agent.cli.progress import Progress
from edge_agent.decoding.decode_workers import DecodeWorkers
from edge_agent.decoding.decoded_text import CSV_HEADER, DecodedText, Summary, unknown_signals
from edge_agent.errors import OutputError
from edge_agent.logs.read_ahead import LogEnd, LogPart, ReadAhead
from edge_agent.logs.selected_frames import check_logs
from edge_agent.logs.selection import IdRange, Selection, parse_id_range

_BATCH_FRAMES: Final = 16_384


@click.command()
@click.argument("logs", nargs=-1, required=True, type=FileName(), metavar="LOG...")
@database_option(required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="jsonl: a normalized frame per line; csv: a row per value.",
)
@click.option("--raw", is_flag=True, help="Add the unscaled numbers.")
@click.option(
    "--signals", multiple=True, metavar="GLOB", help="Only these signals: EngineData.*, *Speed. Repeatable."
)
@click.option(
    "--id",
    "ids",
    multiple=True,
    type=Parsed("ID|FIRST-LAST", parse_id_range),
    help="Only these arbitration ids, in hex. Repeatable.",
)
@start_time_option
@click.option("--json", "as_json", is_flag=True, help="The summary on standard error as one line of JSON.")
def decode(
    logs: tuple[Path, ...], databases: Databases, form: str, *, raw: bool,
    signals: tuple[str, ...], ids: tuple[IdRange, ...], start_time_ns: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Decode logs with databases, as fast as this machine allows; - is standard input.

    What could not be read or decoded is summed up on standard error. Exit status 1 where nothing could be
    read, or a log ends before its own end.
    """
    try:
        check_logs(logs)
        with ReadAhead(Selection(logs, ids=ids, start_time_ns=start_time_ns)) as source:
            table = _load(databases)
            tell_unmatched(unknown_signals(signals, table))
            text = DecodedText(table, signals, raw=raw)
            text_of = partial(_text_of, text.csv_rows if form == "csv" else text.json_lines)
            head = ",".join(CSV_HEADER).encode() + b"\n" if form == "csv" else b""
            with DecodeWorkers(source, text_of, text.summary, _output(), head) as workers:
                _follow(workers)
    except (CanStreamError, TableError) as error:
        raise click.ClickException(str(error)) from error
    _tell(workers.summary, workers.end, start_time_ns, chosen=bool(signals), as_json=as_json)
    sys.exit(0 if are_whole(workers.end.books) else 1)


def _tell(summary: Summary, end: LogEnd, start_time_ns: int | None, *, chosen: bool, as_json: bool) -> None:
    if not as_json:
        click.echo(str(summary), err=True)
        tell_logs(end.books, end.problems, start_time_ns)
    else:
        tell_faults(end.books, end.problems, start_time_ns)
    tell_unmatched(end.unmatched)
    if chosen and summary.frames and not summary.shown:
        warn("--signals: no frame of these logs has any of them")
    if as_json:
        logs = [book.as_json() for book in end.books]
        click.echo(json.dumps(summary.as_json() | books_json(end.books) | {"logs": logs}), err=True)


def _load(databases: Databases) -> SignalTable:
    # In this process: a command that takes too long for its user can be stopped, unlike the service.
    loaded = load_databases(databases.paths, databases.options)
    tell_findings(loaded.report)
    return loaded.table


def _text_of(lines_of: Callable[[FrameBatch, Origins], bytes], part: LogPart) -> bytes:
    frames, channel, names, _ = part
    origins = [FrameOrigin(None, name) for name in names]
    slices = (slice(begin, begin + _BATCH_FRAMES) for begin in range(0, len(frames), _BATCH_FRAMES))
    return b"".join(lines_of(frames[one], Origins(origins, channel[one])) for one in slices)


def _output() -> int:
    """The descriptor of standard output."""
    if was_closed("stdout"):
        raise OutputError("what is decoded cannot be written: standard output is closed")
    return sys.stdout.fileno()


def _follow(workers: DecodeWorkers) -> None:
    """Until all is written: a progress bar on a terminal, where the lines go elsewhere."""
    frames = 0
    with Progress(hidden=sys.stdout.isatty()) as progress:
        for written in workers:
            frames += written.frames
            if progress.is_due:
                progress.show(written.fraction, f"{frames:,} frames decoded")
        progress.show(1.0, f"{frames:,} frames decoded")


@click.group()
def dbc() -> None:
    """Work with database files."""


@dbc.command()
@click.argument("files", nargs=-1, required=True, type=DatabaseFile(), metavar="FILE...")
@said_options
def lint(files: tuple[Path, ...], said: tuple[DatabaseOptions, ...]) -> None:
    """Say what loads, what does not and why, and what may not mean what it seems to.

    All files are taken as those of one bus. Exit status 1 where something cannot be loaded.
    """
    found = lint_files(files, said)
    for finding in found:
        click.echo(str(finding))
    sys.exit(1 if any(finding.severity is Severity.ERROR for finding in found) else 0)
