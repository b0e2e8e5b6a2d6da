"""Last values as the HTTP API shows them."""

from __future__ import annotations

import msgspec

from can_stream.frames.batches import SignalBatch
from can_stream.signals.choices import named
from can_stream.signals.decoded import Value, numbers_of
from can_stream.signals.table import SignalTable
from can_stream.text.signals_json import value_json
from can_stream.text.timestamps import format_timestamp
from stream_server.http.bodies import SignalView


def signal_views(values: SignalBatch, table: SignalTable) -> list[SignalView]:
    """Every value with what `table` says of its signal; numbers that the table has not are left out."""
    values = values[values.signal < len(table.signals)]
    numbers = numbers_of(values.kind, values.bits)
    views = []
    for signal, number, at_ns in zip(
        values.signal.tolist(), numbers, values.timestamp_ns.tolist(), strict=True
    ):
        model = table.signals[signal]
        views.append(
            SignalView(
                message=table.messages[table.message_of[signal]].name,
                signal=model.name,
                value=_in_json(named(model, number)),
                number=_in_json(number),
                unit=model.unit,
                choices={str(raw): name for raw, name in model.choices.items()} or None,
                ts=format_timestamp(at_ns // 1000),
            )
        )
    return views


def _in_json(value: Value) -> Value:
    """The value as the one rule for JSON has it: NaN and infinities as strings."""
    return msgspec.json.decode(value_json(value), type=int | float | str)
