"""Databases as commands take them: loaded before anything else happens, findings told once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from edge_agent.databases.findings import Severity
from edge_agent.databases.isolated import load_isolated
from signal_decoding.table import SignalTable


def load_for_command(paths: Sequence[Path]) -> SignalTable:
    """One table of all files. Says on standard error how many findings there are. DatabaseError."""
    loaded = load_isolated(paths)
    faults = sum(finding.severity is not Severity.INFO for finding in loaded.report)
    if faults:
        click.echo(f"Warning: {faults} findings on the databases, see `edge-agent dbc lint`", err=True)
    return loaded.table
