"""The commands `edge-agent decode` and `edge-agent dbc lint`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edge_agent.errors import EdgeAgentError
from edge_agent.log_selection import IdRange, SelectedFrames, Selection, check_logs, parse_id_range
from edge_agent.parameters import Parsed
from edge_agent.replay import by_channel

_BATCH_FRAMES = 4096


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="LOG...")
@click.option(
    "--dbc",
    "databases",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="Database file (DBC, KCD, SYM, ARXML). Repeatable; the first that knows an id wins.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="A normalized frame per line, or a row per value.",
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
def decode(
    logs: tuple[Path, ...], databases: tuple[Path, ...], form: str, *, raw: bool,
    signals: tuple[str, ...], ids: tuple[IdRange, ...],
) -> None:  # fmt: skip
    """Decode logs with databases, as fast as this machine allows.

    What could not be read or decoded is summed up on standard error.
    """
    # Not at the top: the service shares this program, and has no memory for what it does not use.
    from edge_agent.databases.errors import DatabaseError  # noqa: PLC0415
    from edge_agent.databases.findings import Severity  # noqa: PLC0415
    from edge_agent.databases.isolated import load_isolated  # noqa: PLC0415
    from edge_agent.decode_output import CSV_HEADER, DecodedText, SignalFilter  # noqa: PLC0415

    try:
        check_logs(logs)
        loaded = load_isolated(databases)
    except (EdgeAgentError, DatabaseError) as error:
        raise click.ClickException(str(error)) from error
    faults = [finding for finding in loaded.report if finding.severity is not Severity.INFO]
    if faults:
        click.echo(f"Warning: {len(faults)} findings on the databases, see `edge-agent dbc lint`", err=True)
    text = DecodedText(loaded.table, SignalFilter(signals, loaded.table), raw=raw)
    source = SelectedFrames(Selection(logs, ids=ids))
    out = sys.stdout.buffer
    if form == "csv":
        out.write(",".join(CSV_HEADER).encode() + b"\n")
    write = text.csv_rows if form == "csv" else text.json_lines
    for frames, channel in source:
        for begin in range(0, len(frames), _BATCH_FRAMES):
            part = slice(begin, begin + _BATCH_FRAMES)
            for number, rows in by_channel((frames[part], channel[part])):
                out.write(write(rows, source.channels[number]))
    out.flush()
    click.echo(str(text.summary), err=True)
    if source.unreadable:
        click.echo(f"Warning: {source.unreadable} lines or records could not be read:", err=True)
        for problem in source.problems[:20]:
            click.echo(f"  {problem}", err=True)


@click.group()
def dbc() -> None:
    """Work with database files."""


@dbc.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
def lint(files: tuple[Path, ...]) -> None:
    """Say what loads, what does not and why, and what may not mean what it seems to.

    All files are taken as those of one bus. Exit status 1 where something cannot be loaded.
    """
    from edge_agent.databases.findings import Severity  # noqa: PLC0415 - as above
    from edge_agent.databases.lint import lint as lint_files  # noqa: PLC0415

    found = lint_files(files)
    for finding in found:
        click.echo(str(finding))
    sys.exit(any(finding.severity is Severity.ERROR for finding in found))
