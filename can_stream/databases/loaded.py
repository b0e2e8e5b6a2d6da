"""What loading databases gives: apart from the loading, which only a child process of the agent needs."""

from __future__ import annotations

from msgspec import Struct

from can_stream.databases.findings import Finding
from can_stream.signals.table import SignalTable


class LoadedDatabases(Struct, frozen=True):
    """One table of all files, and what there is to say about each."""

    table: SignalTable
    report: tuple[Finding, ...]
