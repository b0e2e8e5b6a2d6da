"""Signal tables for tests: made by hand, and of this project's databases with their sample frames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from can_stream.databases.loading import load_databases
from can_stream.frames.batches import FrameBatch
from can_stream.signals.decoded import Value
from can_stream.signals.evaluate import decode
from can_stream.signals.model import Encoding, MessageModel, SignalModel
from can_stream.signals.table import SignalTable
from tests.helpers.cantools_oracle import frames_of

DBC: Final = Path(__file__).parents[2] / "dbc"


def table_of(messages: dict[str, Sequence[SignalModel]], first_id: int = 0x100) -> SignalTable:
    """Messages of 8 bytes with standard ids from `first_id` on."""
    return SignalTable(
        MessageModel(name, number, False, False, 8, tuple(signals))
        for number, (name, signals) in enumerate(messages.items(), first_id)
    )


def gear_table(unit: str = "") -> SignalTable:
    """Two messages: an 8-bit gear with choices and a 16-bit speed; a 64-bit counter."""
    gear = SignalModel("Gear", 0, 8, unit=unit, choices={0: "Park", 1: "Reverse"})
    speed = SignalModel("Speed", 8, 16, scale=0.01, unit="km/h")
    return table_of({"Drive": [gear, speed], "Totals": [SignalModel("Count", 0, 64)]})


def odd_values_table() -> SignalTable:
    """One message for each value that JSON or 53 bits could spoil."""
    return table_of(
        {
            "Floats": [SignalModel("Float", 0, 64, encoding=Encoding.FLOAT)],
            "Unsigned": [SignalModel("Unsigned", 0, 64)],
            "Signed": [SignalModel("Signed", 0, 64, encoding=Encoding.SIGNED)],
            "Choices": [SignalModel("State", 0, 8, scale=2, offset=-10, choices={3: 'Naïve "x"'})],
        }
    )


class Sample(NamedTuple):
    """One frame and what it says, with choices and without."""

    data_hex: str
    message: str
    values: dict[str, Value]
    numbers: dict[str, Value]


def table_from(path: Path) -> SignalTable:
    """The table of one database file."""
    return load_databases([path]).table


@lru_cache
def demo_table() -> SignalTable:
    """The demo vehicle's database."""
    return table_from(DBC / "demo-vehicle.dbc")


def demo_samples() -> tuple[FrameBatch, list[Sample]]:
    """The demo vehicle's sample frames, and what the decoder makes of them, which is what the samples say."""
    lines = (DBC / "demo-vehicle.samples.jsonl").read_text().splitlines()
    written = [json.loads(line) for line in lines]
    rows = [(int(one["id"], 16), False, bytes.fromhex(one["data_hex"])) for one in written]
    frames = frames_of(rows)
    decoded = decode(demo_table(), frames)
    samples = []
    for row, one in enumerate(written):
        values = decoded.values_of(row)
        assert values == {
            name: pytest.approx(value) if isinstance(value, float) else value
            for name, value in one["signals"].items()
        }
        samples.append(Sample(one["data_hex"], one["message"], values, decoded.values_of(row, choices=False)))
    return frames, samples
