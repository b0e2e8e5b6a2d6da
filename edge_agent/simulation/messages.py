"""The messages of databases as simulated traffic needs them: with cycle times and limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from can_stream.databases import MAX_DATABASES
from can_stream.databases.checks import Placed, check_together
from can_stream.databases.findings import Finding, Findings
from can_stream.databases.loading import parse_database, place_messages, used_messages
from can_stream.databases.options import DatabaseOptions
from can_stream.errors import DatabaseError
from can_stream.signals.model import MessageModel
from edge_agent.simulation.payloads import SimulatedMessage

if TYPE_CHECKING:
    from cantools.database.can import Message, Signal

DEFAULT_CYCLE_SECONDS: Final = 0.1
MIN_CYCLE_SECONDS: Final = 0.001
MAX_CYCLE_SECONDS: Final = 3600.0


def simulated_messages(
    paths: Sequence[Path], options: Sequence[DatabaseOptions] = ()
) -> tuple[list[SimulatedMessage], list[Finding]]:
    """The messages of all files for one bus, of one id those of the file listed first, and the findings.

    Raises DatabaseError for a file of which nothing can be loaded.
    """
    if len(paths) > MAX_DATABASES:
        raise DatabaseError(paths[MAX_DATABASES], 1, f"more than {MAX_DATABASES} databases for one bus")
    files: list[list[Placed]] = []
    simulated: dict[int, SimulatedMessage] = {}
    report: list[Finding] = []
    for path in paths:
        findings = Findings(path)
        parsed = parse_database(path, findings, options)
        files.append(place_messages(path, parsed, findings))
        both = zip(files[-1], parsed.messages, strict=True)
        simulated.update({id(one.message): _simulated(one.message, source) for one, source in both})
        findings.keep_each_once()
        report += findings.found
    report += check_together(files)
    return [simulated[id(model)] for model in used_messages(files)], report


def _simulated(model: MessageModel, message: Message) -> SimulatedMessage:
    cycle_ms: object = message.cycle_time
    cycle_seconds = DEFAULT_CYCLE_SECONDS
    # An attribute of a DBC may be of any type.
    if isinstance(cycle_ms, int | float) and cycle_ms > 0:
        cycle_seconds = min(max(cycle_ms / 1000, MIN_CYCLE_SECONDS), MAX_CYCLE_SECONDS)
    limits = tuple((signal.minimum, signal.maximum) for signal in _sources(model, message))
    return SimulatedMessage(model, cycle_seconds, bool(message.is_fd), limits)


def _sources(model: MessageModel, message: Message) -> Iterator[Signal]:
    """cantools' signal of each signal, of which it has more, in the same order; a name may be numbered."""
    signals = iter(message.signals)
    for made in model.signals:
        start = made.start ^ 7 if made.big_endian else made.start
        yield next(
            signal
            for signal in signals
            if (signal.start, signal.length) == (start, made.length)
            and made.name in (signal.name, f"{signal.name}#{made.name.rpartition('#')[2]}")
        )
