"""Gates that could never be known: the databases do not have their signal, or have it twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from can_stream.signals.table import SignalTable
from can_stream.strict_config.errors import Problem
from edge_agent.config.dongle import DongleSection
from edge_agent.config.scoping import named_signals
from edge_agent.config.transmit import RelaySection
from edge_agent.transmit.gates import signal_names


def unknown_signals(
    relay: RelaySection, dongles: Sequence[DongleSection], tables: Mapping[str, SignalTable | None]
) -> Iterator[Problem]:
    """By the databases of the dongles in `tables`, None: nothing in them could be used. The others, whose
    databases nobody has loaded, are not judged."""
    for place, dongle_id, gate in named_signals(relay, dongles):
        if dongle_id not in tables:
            continue
        table = tables[dongle_id]
        names = [] if table is None else list(signal_names(table))
        count = names.count(gate.signal)
        if count > 1:
            yield Problem(place, f"is {gate.signal}, which the databases of {dongle_id} have {count} times")
        elif not count:
            near = get_close_matches(gate.signal, names, 3, 0.4)
            like = f": do you mean {' or '.join(near)}?" if near else ""
            yield Problem(place, f"is {gate.signal}, which no database of {dongle_id} has{like}")
