"""Load databases and compile them to one signal table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from can_stream.databases import MAX_DATABASES
from can_stream.databases.buses import messages_of_bus
from can_stream.databases.cantools_loading import load_with_cantools, reason_of, what_cantools_warns_of
from can_stream.databases.checks import Placed, check_ids, check_message, check_together
from can_stream.databases.compiling import compile_message, dbc_id_of, is_j1939
from can_stream.databases.dbc.loading import DbcLoading
from can_stream.databases.findings import Finding, Findings
from can_stream.databases.loaded import LoadedDatabases
from can_stream.databases.locating import Locator
from can_stream.databases.options import DatabaseOptions, options_for
from can_stream.databases.protocols import check_protocol
from can_stream.databases.reading import (
    check_sizes,
    format_of,
    line_about,
    read_text,
    sym_with_plain_numbers,
)
from can_stream.errors import DatabaseError
from can_stream.signals.errors import TableError
from can_stream.signals.model import MessageModel
from can_stream.signals.table import SignalTable

if TYPE_CHECKING:
    from cantools.database import Database
    from cantools.database.can import Message


ENCODING_REMEDY: Final = (
    "`--encoding NAME`, or `encoding` in `database_options`, names another: gbk, shift_jis, cp1251, cp1252"
)
_LEFT_OUT: Final = ("loaded_in_part", "set_aside", "unsupported")


class ParsedDatabase(Struct, frozen=True):
    """One file as cantools' model, after what cannot be read was set aside; `messages`: those of the bus.

    `said`: what its file does not say.
    """

    database: Database
    locator: Locator
    messages: tuple[Message, ...]
    said: DatabaseOptions


def load_databases(paths: Sequence[Path], options: Sequence[DatabaseOptions] = ()) -> LoadedDatabases:
    """All of `paths` for one bus, in their order: of one id the file listed first wins.

    A DBC loads in part where it must; any file of which nothing can be loaded raises DatabaseError.
    """
    if len(paths) > MAX_DATABASES:
        raise DatabaseError(paths[MAX_DATABASES], 1, f"more than {MAX_DATABASES} databases for one bus")
    report: list[Finding] = []
    files: list[list[Placed]] = []
    for path in paths:
        findings = Findings(path)
        files.append(load_messages(path, findings, options))
        report += findings.found
    together = check_together(files)
    try:
        table = SignalTable(used_messages(files))
    except TableError as error:
        raise DatabaseError(paths[0], 1, error.reason) from error
    return LoadedDatabases(table, (*report, *together))


def used_messages(files: Iterable[Iterable[Placed]]) -> list[MessageModel]:
    """What a table of these files has, once they were checked together."""
    return [placed.message for file in files for placed in file if placed.is_used]


def parse_database(path: Path, findings: Findings, options: Sequence[DatabaseOptions] = ()) -> ParsedDatabase:
    """The file as cantools has it. Raises DatabaseError where nothing of it can be loaded."""
    database_format, said = format_of(path), options_for(path, options)
    source = read_text(path, said.encoding)
    for line, doubt in source.doubts:
        findings.warn(line, "encoding", f"the text is {doubt}; {ENCODING_REMEDY}")
    if database_format == "dbc":
        loading = DbcLoading(source.text, findings)
        locator = Locator(source.text, loading.file.statements)
        database = loading.load()
    else:
        database = _with_cantools(path, database_format, source.text, findings)
        locator = Locator(source.text, [], database_format)
    return ParsedDatabase(database, locator, messages_of_bus(path, database, said.bus, findings), said)


def _with_cantools(path: Path, database_format: str, text: str, findings: Findings) -> Database:
    if database_format == "sym":
        text = sym_with_plain_numbers(text)
    check_sizes(path, database_format, text)
    try:
        with what_cantools_warns_of() as told:
            database = load_with_cantools(text, database_format)
    except Exception as error:  # cantools raises whatever its parts raise
        raise DatabaseError(path, line_about(text, str(error)), reason_of(error)) from error
    for reason in told:
        findings.warn(line_about(text, reason), "unsupported", reason)
    if database_format == "sym" and text[-1:] not in "\r\n":
        # The other formats end with a mark of theirs; a SYM file that is cut here is still a SYM file.
        said = "the file ends within this line, which may be cut: end the line if it is whole"
        findings.warn(len(text.splitlines()), "open_end", said)
    return database


def place_messages(path: Path, parsed: ParsedDatabase, findings: Findings) -> list[Placed]:
    """The messages of one file in cantools' order; those whose id a later one has too are marked as not used.

    Raises DatabaseError where no table can hold them.
    """
    j1939, locator, protocol = is_j1939(parsed.database), parsed.locator, parsed.said.protocol or ""
    placed, seen = [], Counter[tuple[int, str]]()
    for message in parsed.messages:
        key = dbc_id_of(message), message.name
        try:
            model = compile_message(
                message, j1939=j1939, locator=locator, findings=findings, protocol=protocol, nth=seen[key]
            )
        except TableError as error:
            raise DatabaseError(path, locator.line(*key, nth=seen[key]), error.reason) from error
        placed.append(Placed(model, path, locator.line(*key, nth=seen[key]), seen[key]))
        seen[key] += 1
    try:
        # Here, so that what makes a table impossible is told with the file it comes from.
        SignalTable([one.message for one in placed])
    except TableError as error:
        raise DatabaseError(path, 1, error.reason) from error
    check_ids(placed, findings)
    return placed


def load_messages(path: Path, findings: Findings, options: Sequence[DatabaseOptions] = ()) -> list[Placed]:
    """The messages of one file, with its findings. Raises DatabaseError."""
    parsed = parse_database(path, findings, options)
    placed = place_messages(path, parsed, findings)
    if not placed:
        findings.warn(1, "no_messages", "there are no messages in it: nothing is decoded with it")
    for one in placed:
        check_message(one, parsed.locator, findings)
    if parsed.said.protocol is None:
        check_protocol([one.message for one in placed], findings)
    findings.keep_each_once()
    in_part = any(finding.code in _LEFT_OUT for finding in findings.found)
    kept = used_messages([placed])
    signals = sum(len(model.signals) for model in kept)
    how = "in part" if in_part else "whole"
    group = ", matched by parameter group" if any(model.by_pgn for model in kept) else ""
    findings.info(1, "loaded", f"loaded {how}: {len(kept)} messages, {signals} signals{group}")
    return placed
