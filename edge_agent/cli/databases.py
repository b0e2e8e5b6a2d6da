"""Databases as commands take them: one option, and findings told once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from can_stream.databases.findings import Finding, Severity
from can_stream.databases.isolated import load_isolated
from can_stream.signals.table import SignalTable

_Command = TypeVar("_Command", bound=Callable[..., Any])


def database_option(*, required: bool) -> Callable[[_Command], _Command]:
    """`--dbc FILE...`, the parameter `databases`."""
    return click.option(
        "--dbc",
        "databases",
        multiple=True,
        required=required,
        type=click.Path(path_type=Path),
        help="Database file (DBC, KCD, SYM, ARXML). Repeatable; the first that knows an id wins.",
    )


def tell_findings(report: Iterable[Finding]) -> None:
    """Says on standard error how many findings there are."""
    faults = sum(finding.severity is not Severity.INFO for finding in report)
    if faults:
        click.echo(f"Warning: {faults} findings on the databases, see `edge-agent dbc lint`", err=True)


def load_for_command(paths: Sequence[Path]) -> SignalTable:
    """One table of all files; tells the findings. DatabaseError."""
    loaded = load_isolated(paths)
    tell_findings(loaded.report)
    return loaded.table
