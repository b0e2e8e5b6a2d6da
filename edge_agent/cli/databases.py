"""Databases as commands take them: one option, and findings told once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import click
from msgspec import Struct

from can_stream.command_line.parameters import FileName, Parsed, is_there
from can_stream.databases.bundled import bundled, bundled_hint, bundled_names
from can_stream.databases.findings import Finding, Severity
from can_stream.databases.isolated import load_isolated
from can_stream.databases.options import NOTHING_SAID, DatabaseOptions, is_encoding, unknown_encoding
from can_stream.databases.reading import FORMATS
from can_stream.signals.table import SignalTable
from can_stream.text.foreign import shown

# Findings that --protocol, --dbc-bus and --encoding are there for.
_ANSWERED: Final = ("looks_like_j1939", "several_buses", "encoding")
_MAX_TOLD: Final = 5


class DatabaseFile(FileName):
    """A database: the path of a file, or the name of one that comes along."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The file's path, which may be missing; where a name that comes along is near it, that is told."""
        path = bundled(str(value)) or Path(value)
        if not is_there(path):
            hint = bundled_hint(path.name)
            if not hint and path.suffix[1:].lower() not in FORMATS:
                hint = f"; the databases that come along are {', '.join(bundled_names())}"
            if hint:
                self.fail(f"there is no file {str(path)!r}{hint}", param, ctx)
        return super().convert(path, param, ctx)


class Databases(Struct, frozen=True):
    """The database files of a command, none is false, and what was said of them all."""

    paths: tuple[Path, ...]
    options: tuple[DatabaseOptions, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.paths)


def database_option(*, required: bool) -> Callable[[Callable[..., Any]], Any]:
    """`--dbc FILE...` and what is said of these files, the parameter `databases`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_databases(*args: Any, databases: tuple[Path, ...], said: Any, **options: Any) -> Any:
            if said and not databases:
                raise click.UsageError("--protocol, --dbc-bus and --encoding speak of databases: give --dbc")
            return command(*args, databases=Databases(databases, said), **options)

        return click.option(
            "--dbc",
            "databases",
            multiple=True,
            required=required,
            type=DatabaseFile(),
            help="A database (DBC, KCD, SYM, ARXML), or the name of one that comes along: "
            f"{', '.join(bundled_names())}. Repeatable; the first that knows an id wins.",
        )(said_options(with_databases))

    return decorate


def said_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--protocol`, `--dbc-bus` and `--encoding`, together the parameter `said`."""

    @functools.wraps(command)
    def with_said(
        *args: Any, protocol: Any, dbc_bus: str | None, encoding: str | None, **options: Any
    ) -> Any:
        said = DatabaseOptions(protocol=protocol, bus=dbc_bus, encoding=encoding)
        return command(*args, said=() if said == NOTHING_SAID else (said,), **options)

    return click.option(
        "--protocol",
        type=click.Choice(["j1939", "can"]),
        help="How extended ids match where a database does not say it: j1939 (NMEA 2000 too) by parameter "
        "group, can exactly.",
    )(
        click.option("--dbc-bus", metavar="NAME", help="The bus, of databases that describe several.")(
            click.option(
                "--encoding",
                type=Parsed("NAME", _parse_encoding),
                help="The code page of databases that are not UTF-8: gbk, shift_jis, cp1251.  "
                "[default: what fits best]",
            )(with_said)
        )
    )


def _parse_encoding(text: str) -> str:
    if not is_encoding(text):
        raise ValueError(unknown_encoding(text))
    return text


def tell_findings(report: Iterable[Finding]) -> None:
    """Says on standard error how many findings there are, and those that an option of the command answers."""
    faults = [finding for finding in report if finding.severity is not Severity.INFO]
    if faults:
        findings = "finding" if len(faults) == 1 else "findings"
        click.echo(f"Warning: {len(faults)} {findings} on the databases, see `edge-agent dbc lint`", err=True)
    for finding in [finding for finding in faults if finding.code in _ANSWERED][:_MAX_TOLD]:
        click.echo(f"  {shown(str(finding))}", err=True)


def load_for_command(databases: Databases) -> SignalTable:
    """One table of all files; tells the findings. DatabaseError."""
    loaded = load_isolated(databases.paths, databases.options)
    tell_findings(loaded.report)
    return loaded.table
